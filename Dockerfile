FROM python:3.11-slim

RUN useradd --create-home --uid 1000 dataflow
WORKDIR /app

# The library first: its layer stays as it is while your app changes.
COPY pyproject.toml README.md ./
COPY dataflow dataflow
COPY worker worker
COPY scheduler scheduler
RUN pip install --no-cache-dir '.[fast]'

# Your app: anything that `dataflow worker module:name` and `dataflow scheduler module:name` can import from here.
COPY examples examples

USER dataflow
ENV PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
ENTRYPOINT ["dataflow"]
CMD ["worker", "examples.flights.app:db"]

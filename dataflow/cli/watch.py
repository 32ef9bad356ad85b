"""``dataflow jobs watch``: a job as it goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflow.cli import text
from dataflow.cli.target import AppOption, JsonOption, Target, UrlOption, print_json
from dataflow.jobs import JobEvent, JobStatus

#: How the command ends, by how the job ended; 124 when time is up, as timeout(1) does.
EXIT_CODES = {JobStatus.FINISHED: 0, JobStatus.FAILED: 1, JobStatus.STOPPED: 3, JobStatus.CANCELED: 4}
TIME_IS_UP = 124


def watch(
    job: Annotated[str, typer.Argument(help="Id of the job.", metavar="JOB")],
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds until the job must have ended.")] = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Follow a job node by node, as it happens, until it ends.

    Exit code: 0 finished, 1 failed, 3 stopped, 4 canceled, 124 not ended within --timeout. --json tells each event.

    Example: dataflow jobs watch 6f9b… && echo it went well
    """
    place = Target(target, url)

    async def work() -> tuple[JobStatus | None, str | None]:
        handle = place.job(job)
        status = None
        try:
            async for event in handle.events_async(timeout):
                status = event.status
                if json:
                    print_json(event)
                else:
                    _print(job, event)
        except TimeoutError as error:
            return None, str(error)
        failure = (await handle.refresh_async()).error
        return status, failure.message if failure else None

    status, message = place.run(work())
    if message:
        typer.echo(message, err=True)
    raise typer.Exit(TIME_IS_UP if status is None else EXIT_CODES[status])


def _print(job_id: str, event: JobEvent) -> None:
    state = event.state or event.status.value
    at = f"{event.at:%H:%M:%S}.{event.at.microsecond // 1000:03}" if event.at else " " * 12
    color = text.COLORS.get(state)
    told = text.progress(event.done, event.total, event.note)
    what = f"{event.node_id or f'job {job_id}'}  {told}".rstrip()
    typer.echo(f"{at}  {typer.style(f'{state:<9}', fg=color)} {what}")

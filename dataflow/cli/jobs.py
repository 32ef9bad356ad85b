"""``dataflow jobs``: look at jobs, follow them, and end or repeat them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.markup import escape

from dataflow.cli import text
from dataflow.cli.show import describe, print_description
from dataflow.cli.stats import stats
from dataflow.cli.target import AppOption, JsonOption, Target, UrlOption, print_json
from dataflow.cli.watch import watch
from dataflow.errors import InputError, JobNotFoundError
from dataflow.jobs import Job
from dataflow.jobs.control import REQUEUED, requeue, requeue_failed
from dataflow.jobs.listing import REGISTRIES, list_jobs, queue_names

app = typer.Typer(no_args_is_help=True, help="Look at jobs, follow them, and end or repeat them.")

JobArgument = Annotated[str, typer.Argument(help="Id of the job.", metavar="JOB")]
JobsArgument = Annotated[list[str], typer.Argument(help="Ids of jobs.", metavar="JOB…")]


@app.command("list")
def list_command(
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Only of this queue.")] = None,
    status: Annotated[str | None, typer.Option("--status", "-s", help=f"Only {', '.join(REGISTRIES)}.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Jobs on a page.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="Jobs to leave out, for the next page.")] = 0,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """List jobs by queue and status, a page at a time.

    Example: dataflow jobs list --queue orders --status failed
    """
    place = Target(target, url)
    page = place.run(list_jobs(place.broker, queue=queue, status=status, offset=offset, limit=limit))
    if json:
        print_json(page)
        return
    rows = [
        (
            job.id,
            escape(job.queue),
            text.status(job.status),
            escape(job.description),
            text.when(job.ended_at or job.started_at or job.enqueued_at or job.created_at),
            escape(job.error or job.worker or ""),
        )
        for job in page.jobs
    ]
    last = offset + len(rows)
    title = f"{page.total} job(s)" if last == page.total and not offset else f"{offset + 1}–{last} of {page.total} jobs"
    text.console().print(text.table(title, ("job", "queue", "status", "runs", "last change (UTC)", ""), rows))
    if page.next_offset is not None:
        typer.echo(f"The next page: --offset {page.next_offset}", err=True)


@app.command()
def show(
    job: JobArgument,
    values: Annotated[bool, typer.Option("--values", help="Tell inputs and results, not only their types.")] = False,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Show a job: what it runs, where it is and why it waits, its nodes, its error, what depends on it.

    Inputs and results may be secret: only their names and types are told, unless --values asks for more.

    Example: dataflow jobs show 6f9b… --values
    """
    place = Target(target, url)
    description = place.run(describe(place, job, values=values))
    if json:
        print_json(description)
    else:
        print_description(description)


@app.command()
def cancel(jobs: JobsArgument, target: AppOption = None, url: UrlOption = None) -> None:
    """Cancel jobs: what waits is not run; what runs is interrupted, and its end is not recorded.

    Exit code 1 where one had ended before.
    """
    _each(jobs, Target(target, url), Job.cancel_async, "canceled", "had ended before")


@app.command()
def stop(jobs: JobsArgument, target: AppOption = None, url: UrlOption = None) -> None:
    """Stop running jobs: their statements are cancelled in the database, and they end as `stopped`.

    Exit code 1 where one does not run.
    """
    _each(jobs, Target(target, url), Job.stop_async, "told to stop", "does not run")


@app.command("requeue")
def requeue_command(
    jobs: Annotated[list[str] | None, typer.Argument(help="Ids of jobs.", metavar="JOB…")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed or were stopped.")] = False,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="With --all: only of this queue.")] = None,
    target: AppOption = None,
    url: UrlOption = None,
) -> None:
    """Run jobs again that failed, were stopped or canceled.

    Their retries are not renewed. Exit code 1 where one is not in such a state.

    Example: dataflow jobs requeue --all --queue orders
    """
    if bool(jobs) == everything or (queue is not None and not everything):
        raise InputError("Give ids of jobs, or --all (and perhaps --queue).")
    place = Target(target, url)

    async def requeue_all() -> dict[str, int]:
        names = [queue] if queue is not None else await queue_names(place.broker)
        return {name: await requeue_failed(place.broker, name) for name in names}

    if everything:
        for name, number in place.run(requeue_all()).items():
            typer.echo(f"{name}: {number} job(s) queued again")
        return
    before = place.run(requeue(place.broker, jobs or []))
    for job_id, status in before.items():
        if status is None:
            raise JobNotFoundError(f"There is no job {job_id!r} at {place.broker.masked_url}.", job_id=job_id)
    _tell(list(before), [status in REQUEUED for status in before.values()], "queued again", "has not failed")


def _each(jobs: list[str], place: Target, end: Callable[[Job], Awaitable[bool]], yes: str, no: str) -> None:
    async def end_all() -> list[bool]:
        return [await end(place.job(job_id)) for job_id in jobs]

    _tell(jobs, place.run(end_all()), yes, no)


def _tell(jobs: list[str], happened: list[bool], yes: str, no: str) -> None:
    for job_id, done in zip(jobs, happened, strict=True):
        typer.echo(f"{job_id}: {yes if done else no}")
    if not all(happened):
        raise typer.Exit(1)


app.command()(watch)
app.command()(stats)

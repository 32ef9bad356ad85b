"""The ``dataflow`` command. What it starts brings its own commands, found by the entry point ``dataflow.commands``."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from dataflow.cli import jobs, schedules, triggers, workers
from dataflow.cli.capture import capture
from dataflow.cli.events import events
from dataflow.cli.metrics import metrics
from dataflow.errors import DataFlowError

app = typer.Typer(
    name="dataflow",
    help="Workflow-native database framework: run and look after what your app declares.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(jobs.app, name="jobs")
app.add_typer(schedules.app, name="schedules")
app.add_typer(triggers.app, name="triggers")
app.add_typer(workers.app, name="workers")
app.command()(metrics)
app.command()(capture)
app.command()(events)


def _print_version(wanted: bool) -> None:
    if wanted:
        from dataflow import __version__

        typer.echo(f"dataflow {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Workflow-native database framework: run and look after what your app declares."""


def main() -> None:
    """Entry point of the command line; an error of ours is one line on stderr and exit code 2."""
    for command in sorted(entry_points(group="dataflow.commands"), key=lambda item: item.name):
        app.command(command.name)(command.load())
    try:
        app()
    except DataFlowError as error:
        typer.secho(f"dataflow: {error}", fg="red", err=True)
        sys.exit(2)

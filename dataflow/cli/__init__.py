"""The ``dataflow`` command. What it starts brings its own commands, found by the entry point ``dataflow.commands``."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from dataflow.errors import DataFlowError

_GROUP = "dataflow.commands"
#: The library's own: a command → its function, or the Typer app of its subcommands.
_OWN = {
    "capture": "dataflow.cli.capture:capture",
    "events": "dataflow.cli.events:events",
    "jobs": "dataflow.cli.jobs:app",
    "metrics": "dataflow.cli.metrics:metrics",
    "schedules": "dataflow.cli.schedules:app",
    "triggers": "dataflow.cli.triggers:app",
    "workers": "dataflow.cli.workers:app",
}


def command_line(first: str | None = None) -> typer.Typer:
    """The ``dataflow`` command.

    Args:
        first: The first word behind it. Where that is a command, the others are left out: importing what all of them
            need takes longer than most of them.
    """
    made = typer.Typer(name="dataflow", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    made.callback()(_root)
    known = [*(EntryPoint(name, value, _GROUP) for name, value in _OWN.items()), *entry_points(group=_GROUP)]
    for command in [item for item in known if item.name == first] or sorted(known, key=lambda item: item.name):
        loaded = command.load()
        if isinstance(loaded, typer.Typer):
            made.add_typer(loaded, name=command.name)
        else:
            made.command(command.name)(loaded)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        from dataflow import __version__

        typer.echo(f"dataflow {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Workflow-native database framework: run and look after what your app declares."""


def main() -> None:
    """Entry point of the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        command_line(next(iter(sys.argv[1:]), None))()
    except DataFlowError as error:
        typer.secho(f"dataflow: {error}", fg="red", err=True)
        sys.exit(2)

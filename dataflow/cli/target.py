"""What the commands about jobs have in common: which broker they ask, and how they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from dataflow.errors import ConfigurationError
from dataflow.jobs import Broker, Job
from dataflow.workflows import Workflow

T = TypeVar("T")

AppOption = Annotated[
    str | None,
    typer.Option(
        "--app", "-a", envvar="DATAFLOW_APP", metavar="APP", help="The application, as module:attribute (app:db)."
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--redis-url", "--url", metavar="URL", help="The broker. By default the app's, else REDIS_URL."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


class Target:
    """The broker that a command asks.

    Args:
        app: Name of the application; it is loaded where it is given, and knows registered workflows.
        url: The broker's URL; default the application's, else that of the environment.

    Raises:
        ConfigurationError: The application cannot be loaded, or no broker is named.
    """

    def __init__(self, app: str | None, url: str | None) -> None:
        self.find_workflow: Callable[[str], Workflow] | None = None
        named = None
        if app is not None:
            from dataflow.cli.loading import load_apps

            first = load_apps(app)[0]
            self.find_workflow, named = first.find_workflow, first.settings.broker_url(url)
        else:
            from dataflow.settings import load_settings

            named = load_settings({}).broker_url(url)
        if named is None:
            raise ConfigurationError(
                "No broker is named.", hint="Give --redis-url redis://host:6379/0 or --app app:db, or set REDIS_URL."
            )
        self.broker = Broker(named)

    def job(self, job_id: str) -> Job:
        """A job of this broker."""
        return Job(job_id, self.broker, self.find_workflow)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a command's work to its end, then disconnect."""

        async def main() -> T:
            try:
                return await work
            finally:
                await self.broker.close()

        return asyncio.run(main())


def print_json(value: Any) -> None:
    """Print a value as one line of JSON; times as ISO 8601."""
    typer.echo(msgspec.json.encode(value, enc_hook=str).decode())

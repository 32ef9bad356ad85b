"""What the commands share that start a process: its broker and its log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dataflow.app import DataFlow
from dataflow.errors import ConfigurationError
from dataflow.jobs.broker import Broker


def broker_of(apps: Sequence[DataFlow], url: str | None) -> Broker:
    """The broker at ``url``, or the one that all instances name.

    Raises:
        ConfigurationError: They name different ones, or none.
    """
    if url:
        return Broker(apps[0].settings.broker_url(url))
    urls = {url for app in apps if (url := app.settings.broker_url())}
    if len(urls) == 1:
        return Broker(urls.pop())
    raise ConfigurationError(
        "The instances name different brokers." if urls else "No broker is named.",
        hint="Set REDIS_URL=redis://host:6379/0, or give --url. A producer without one starts an embedded server and "
        "logs its URL.",
    )


def log_at(level: str) -> None:
    """Write our log to stderr, from this level on.

    Raises:
        ConfigurationError: There is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigurationError(f"The log level {level!r} is unknown.", hint="debug, info, warning or error.")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dataflow").setLevel(number)

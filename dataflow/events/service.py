"""CaptureService: the capture of an app's changes as a process runs it: the mechanism chosen, start, stop, progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from textwrap import indent
from typing import Any, Protocol

from dataflow.databases.interface import Database
from dataflow.databases.url import parse_url
from dataflow.errors import BrokerUnavailableError, CaptureError, DatabaseError, DatabaseUnavailableError
from dataflow.events.capture import Capture
from dataflow.events.publisher import Publisher
from dataflow.events.snapshot import request_snapshot
from dataflow.events.sources.choice import Probed, Site, choose, others, probe
from dataflow.events.sources.interface import Finding
from dataflow.events.tables import PASSING
from dataflow.events.trimming import Trimmer
from dataflow.jobs import Broker, keys
from dataflow.models import ModelSpec
from dataflow.settings import Settings

logger = logging.getLogger("dataflow.events")

#: Seconds between two lines about progress.
_REPORT = 10.0
#: Seconds between two attempts to reach a database that was away at the start.
_RETRY = 1.0


class Instance(Protocol):
    """What capture needs of a DataFlow instance."""

    name: str
    settings: Settings
    database: Database

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""
        ...

    @property
    def broker(self) -> Broker:
        """Where its queues and streams are."""
        ...

    async def create_tables_async(self) -> list[str]:
        """Create all missing tables."""
        ...


def captured_models(app: Instance) -> dict[str, ModelSpec]:
    """Model name → ModelSpec, of the models whose changes are captured."""
    return {name: spec for name, spec in app.models.items() if spec.features.events}


class CaptureService:
    """The capture of one instance.

    Args:
        app: The instance.
        mechanism: How to capture; None for the best that its database allows.
        trimmer: What removes old events.

    Attributes:
        capture: What works, once started.
    """

    def __init__(self, app: Instance, *, mechanism: str | None = None, trimmer: Trimmer | None = None) -> None:
        self._app = app
        self._mechanism = mechanism
        self._trimmer = trimmer
        self.capture: Capture | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def site(self) -> Site:
        """What is captured."""
        app = self._app
        models = list(captured_models(app).values())
        may_create = app.settings.may_create_tables
        address, options = app.settings.database_url, app.settings.database_options()
        return Site(app.database, parse_url(address), models, app.name, may_create, address, options)

    async def start(self) -> None:
        """Begin, as a task; one that ends by itself has failed, and its error says why."""
        self.task = asyncio.create_task(self.run(), name="CaptureService")

    async def stop(self) -> None:
        """End in good order. Stopping twice, or before the start, is harmless."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def run(self) -> None:
        """Capture until cancelled.

        Raises:
            CaptureError: No mechanism can be used, or the one in use stopped working.
            MissingTableError: A table is missing and may not be created.
        """
        app = self._app
        self.capture = await self._prepared()
        report = asyncio.ensure_future(self._report(self.capture))
        try:
            logger.info(
                "Changes of %s in %s become events at %s, by %s: tables %s.",
                app.name, app.database.masked_url, app.broker.masked_url, self.capture.source.mechanism,
                ", ".join(spec.table_name for spec in self.site.models) or "none",
            )  # fmt: skip
            await self.capture.run()
        finally:
            report.cancel()

    async def _prepared(self) -> Capture:
        """A capture by the best mechanism; a database that is away is waited for."""
        app = self._app
        while True:
            try:
                if app.settings.may_create_tables:
                    await self._create_tables()
                best, passed = await choose(self.site, self._mechanism)
                break
            except DatabaseUnavailableError as error:
                logger.warning("Capture of %s waits for its database: %s", app.name, error)
                await asyncio.sleep(_RETRY)
        for line in (*findings_text((*passed, best)), *await self.probe_redis()):
            logger.warning("%s", line)
        return Capture(
            best.source,
            app.database,
            app.broker,
            self.site.models,
            app.name,
            may_create=app.settings.may_create_tables,
            trimmer=self._trimmer,
            others=others(self.site, best.source.mechanism),
        )

    async def _create_tables(self) -> None:
        try:
            await self._app.create_tables_async()
        except PASSING:
            raise
        except DatabaseError as error:
            raise CaptureError(
                f"The tables of the models of {self._app.name} cannot be made: {error.message}",
                hint="Make them with db.create_tables() and a user that may, and start capture again.",
            ) from error

    async def _report(self, capture: Capture) -> None:
        told = -1
        publisher = Publisher(self._app.broker, self._app.name)
        try:
            while True:
                await asyncio.sleep(_REPORT)
                if capture.working.is_set() and capture.published != told:
                    told = capture.published
                    try:
                        lag = (await publisher.fields()).get("lag_ms", "?")
                    except BrokerUnavailableError:
                        continue
                    logger.info("%s: %d events published, the last %s ms after its commit.", self._app.name, told, lag)
        finally:
            await publisher.close()

    async def probe(self) -> list[Probed]:
        """What each mechanism would give here, the best first."""
        found = await probe(self.site, self._mechanism)
        for probed in found:
            await probed.source.close()
        return found

    async def probe_redis(self) -> list[str]:
        """What Redis may do to the streams, a line for each; nothing of one that lives as long as this process."""
        from redis.exceptions import NoPermissionError

        if self._app.settings.broker_url(None) is None:
            return []
        try:
            client = await self._app.broker.client()
            async with self._app.broker.errors():
                facts = {**await client.info("persistence"), **await client.info("memory")}
        except BrokerUnavailableError as error:
            if isinstance(error.__cause__, NoPermissionError):  # not for us to know
                return []
            return [f"Redis: {error}"]
        findings = []
        if not facts.get("aof_enabled"):
            fix = "CONFIG SET appendonly yes  -- and in its configuration, so that it survives a restart"
            findings.append(Finding("A crash takes the streams with it (appendonly is no).", fix))
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory") and policy != "noeviction":
            fix = "CONFIG SET maxmemory-policy noeviction  -- and in its configuration"
            findings.append(Finding(f"Streams go when memory is full (maxmemory-policy is {policy}).", fix))
        return [_line("Redis", finding) for finding in findings]

    async def remove(self) -> None:
        """Remove from the database what capture made there. Streams stay."""
        for probed in await probe(self.site, self._mechanism):
            await probed.source.remove()
            await probed.source.close()
        client: Any = await self._app.broker.client()
        async with self._app.broker.errors():
            await client.srem(keys.CAPTURES, self._app.name)

    async def request_snapshot(self, model: str) -> None:
        """Ask whoever captures, now or later, for the rows of a model as events.

        Raises:
            CaptureError: There is no such model.
        """
        publisher = Publisher(self._app.broker, self._app.name)
        try:
            await request_snapshot(publisher, captured_models(self._app), model)
        finally:
            await publisher.close()


def findings_text(found: Iterable[Probed]) -> list[str]:
    """What probes found, a line for each: what is weaker, and what would mend it."""
    return [_line(probed.source.mechanism, finding) for probed in found for finding in probed.findings]


def _line(what: str, finding: Finding) -> str:
    fix = f"\n{indent(finding.fix, '    ')}" if finding.fix else ""
    return f"{what}{' cannot be used' if finding.fatal else ''}: {finding.problem}{fix}"

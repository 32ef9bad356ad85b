"""Which mechanism captures the changes of a database: the best that it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dataflow.databases.interface import Database, Dialect
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.url import DatabaseURL
from dataflow.errors import CaptureError, ConfigurationError, did_you_mean
from dataflow.events.sources.interface import Finding, Source
from dataflow.events.sources.outbox import OutboxSource
from dataflow.models import ModelSpec


@dataclass(frozen=True, slots=True)
class Site:
    """What a source is made for.

    Attributes:
        database: The database.
        url: Where it is.
        models: Whose changes are captured.
        owner: Name of the instance.
        may_create: Whether tables and triggers may be made.
        address: The URL as it is written.
        options: TLS, times to wait and the like.
    """

    database: Database
    url: DatabaseURL
    models: Sequence[ModelSpec]
    owner: str
    may_create: bool
    address: str
    options: DatabaseOptions


@dataclass(frozen=True, slots=True)
class Probed:
    """A mechanism, and what its probe found.

    Attributes:
        source: Reads by it; nothing is open yet.
        findings: What is weaker, or missing.
    """

    source: Source
    findings: Sequence[Finding]

    @property
    def usable(self) -> bool:
        """Whether it can be used here."""
        return not any(finding.fatal for finding in self.findings)


Make = Callable[[Site], Source]


def _outbox(site: Site) -> Source:
    return OutboxSource(site.database, site.url, site.models, site.owner, may_create=site.may_create)


def _pgoutput(site: Site) -> Source:
    from dataflow.events.sources.postgresql import PostgreSQLSource

    return PostgreSQLSource(site.address, site.owner, site.models, site.options)


def _binlog(site: Site) -> Source:
    from dataflow.events.sources.mysql import BinlogSource

    return BinlogSource(site.address, site.owner, site.models, site.options)


#: Dialect → name of the mechanism → what makes its source, the best first.
MECHANISMS: dict[Dialect, dict[str, Make]] = {
    Dialect.POSTGRESQL: {"pgoutput": _pgoutput, "outbox": _outbox},
    Dialect.MYSQL: {"binlog": _binlog, "outbox": _outbox},
    Dialect.SQLITE: {"outbox": _outbox},
}


async def probe(site: Site, mechanism: str | None = None) -> list[Probed]:
    """What each mechanism of a database would give, the best first. Who asks closes the sources.

    Args:
        site: What is to be captured.
        mechanism: Ask only this one.

    Raises:
        ConfigurationError: The database has no such mechanism.
        DatabaseUnavailableError: It cannot be reached.
    """
    known = MECHANISMS[site.database.dialect]
    if mechanism is not None and mechanism not in known:
        raise ConfigurationError(
            f"{site.database.dialect} has no mechanism {mechanism!r}.", hint=did_you_mean(mechanism, known)
        )
    found = []
    for name, make in known.items():
        if mechanism in (None, name):
            source = make(site)
            found.append(Probed(source, await source.probe()))
    return found


async def choose(site: Site, mechanism: str | None = None) -> tuple[Probed, list[Probed]]:
    """The best mechanism that can be used, and the better ones that cannot.

    Raises:
        CaptureError: None can be used; the message says why, and what would change that.
    """
    passed: list[Probed] = []
    best: Probed | None = None
    for probed in await probe(site, mechanism):
        if best is None and probed.usable:
            best = probed
            continue
        await probed.source.close()
        if best is None:
            passed.append(probed)
    if best is not None:
        return best, passed
    raise CaptureError(
        f"The changes of {site.database.masked_url} cannot be captured: "
        + "; ".join(
            f"{item.source.mechanism}: {finding.problem.rstrip('.')}" for item in passed for finding in fatal(item)
        )
        + ".",
        hint="\n".join(["", *(finding.fix for item in passed for finding in fatal(item) if finding.fix)]) or None,
    )


def others(site: Site, mechanism: str) -> list[Source]:
    """Sources by the mechanisms that are not this one; nothing is open yet."""
    return [make(site) for name, make in MECHANISMS[site.database.dialect].items() if name != mechanism]


def fatal(probed: Probed) -> list[Finding]:
    """Why a mechanism cannot be used."""
    return [finding for finding in probed.findings if finding.fatal]

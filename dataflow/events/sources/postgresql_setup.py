"""What capture needs in PostgreSQL: a publication, a replication slot, whole rows in the log. Looking at it, making it,
removing it.

One publication and one slot, of the same name, belong to one DataFlow instance in one database. The publication names
the tables; the slot keeps the log until it was read.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dataflow.databases.interface import Database, Executor
from dataflow.errors import CaptureError, DatabaseError
from dataflow.events.sources.interface import Finding
from dataflow.events.tables import OUTBOX

logger = logging.getLogger("dataflow.events")

#: The first version that tells of ``pg_logical_emit_message`` to pgoutput.
LEAST_VERSION = 14
#: Key of the advisory lock under which publications are changed.
_LOCK_KEY = 0x64666361707475  # "dfcaptu"
#: Seconds within which the server notices that a reader has gone.
RELEASE_SECONDS = 2.0
_DUPLICATE, _IN_USE, _UNDEFINED = "42710", "55006", "42704"

_SERVER = """
    SELECT current_setting('server_version_num')::int / 10000, current_setting('wal_level'), pg_is_in_recovery(),
           current_user::text,
           r.rolsuper OR r.rolreplication OR EXISTS (
               SELECT FROM pg_roles c
               WHERE c.rolname = 'rds_replication' AND pg_has_role(c.oid, 'MEMBER')),
           has_database_privilege(current_database(), 'CREATE'), current_database()::text,
           current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots)::int,
           current_setting('max_wal_senders')::int, current_setting('max_slot_wal_keep_size'),
           (SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1),
           EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1),
           EXISTS (SELECT FROM pg_publication WHERE pubname = $1)
    FROM pg_roles r WHERE r.rolname = current_user"""

_TABLES = """
    SELECT wanted.name::text, c.oid::bigint, c.oid::regclass::text, c.relkind::text, c.relpersistence::text,
           coalesce(pg_has_role(c.relowner, 'USAGE'), false),
           EXISTS (SELECT FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
                   WHERE p.pubname = $2 AND r.prrelid = c.oid),
           coalesce((SELECT array_agg(part.oid::regclass::text) FROM pg_class part
                     WHERE part.oid IN (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid))
                       AND part.relkind IN ('r', 'p') AND part.relreplident <> 'f'), '{}')
    FROM unnest($1::text[]) wanted(name) LEFT JOIN pg_class c ON c.oid = to_regclass(quote_ident(wanted.name))
    ORDER BY wanted.name"""

#: Tables of a publication that no other publication has.
_OWN_TABLES = """
    SELECT part.oid::regclass::text
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
         CROSS JOIN LATERAL (SELECT r.prrelid AS oid UNION SELECT relid FROM pg_partition_tree(r.prrelid)) part
         JOIN pg_class c ON c.oid = part.oid AND c.relkind IN ('r', 'p') AND c.relreplident = 'f'
    WHERE p.pubname = $1 AND NOT EXISTS (
        SELECT FROM pg_publication_tables other
        WHERE other.pubname <> $1 AND format('%I.%I', other.schemaname, other.tablename)::regclass = part.oid)"""

_DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots WHERE slot_name = $1"


class Table(NamedTuple):
    """A table that is to be captured, as the database has it.

    Attributes:
        name: As the model calls it.
        oid: None where it does not exist.
        quoted: As SQL calls it.
        kind: ``r`` for an ordinary table, ``p`` for a partitioned one.
        persistence: ``p`` where its changes are in the log.
        owned: Whether our role may alter it.
        published: Whether it is in the publication.
        short: Which of the table and its partitions do not log whole rows.
    """

    name: str
    oid: int | None
    quoted: str | None
    kind: str | None
    persistence: str | None
    owned: bool
    published: bool
    short: Sequence[str]

    @property
    def capturable(self) -> bool:
        return self.kind in ("r", "p") and self.persistence == "p" and (self.owned or self.published)


def object_name(owner: str, database: str) -> str:
    """Name of slot and publication: slots are the server's, so two databases need two names."""
    readable = re.sub(r"[^a-z0-9_]", "_", owner.lower())[:45]
    unique = hashlib.sha1(f"{database}\0{owner}".encode(), usedforsecurity=False).hexdigest()[:8]
    return f"dataflow_{readable}_{unique}"


async def probe(database: Database, name: str, tables: Sequence[str]) -> list[Finding]:
    """What stands in the way of capture; changes nothing."""
    findings = []
    row = await database.fetch_one(_SERVER, [name])
    assert row is not None
    version, wal_level, standby, role, replicates, creates, db, slots, used, senders, keep, status, slot, published = (
        row
    )
    if version < LEAST_VERSION:
        findings.append(Finding(f"PostgreSQL {version} is too old: {LEAST_VERSION} is the least.", fatal=True))
    if standby:
        findings.append(Finding("The server is a standby.", "Connect to the primary.", fatal=True))
    if wal_level != "logical":
        fix = "ALTER SYSTEM SET wal_level = 'logical';  -- then restart PostgreSQL"
        findings.append(Finding(f"The log has no row changes: wal_level is {wal_level!r}.", fix, fatal=True))
    if not replicates:
        fix = f"ALTER ROLE {_quote(role)} REPLICATION;"
        findings.append(Finding(f"The role {role!r} may not replicate.", fix, fatal=True))
    if not slot and used >= slots:
        fix = f"ALTER SYSTEM SET max_replication_slots = {slots + 5};  -- then restart PostgreSQL"
        findings.append(Finding(f"All {slots} replication slots are taken.", fix, fatal=True))
    if senders == 0:
        fix = "ALTER SYSTEM SET max_wal_senders = 10;  -- then restart PostgreSQL"
        findings.append(Finding("The server replicates to nobody: max_wal_senders is 0.", fix, fatal=True))
    if not published and not creates:
        fix = f"GRANT CREATE ON DATABASE {_quote(db)} TO {_quote(role)};"
        findings.append(Finding(f"The role {role!r} may not create a publication.", fix, fatal=True))
    if keep == "-1":
        fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();"
        findings.append(Finding("While capture is down the server keeps its log without limit.", fix))
    if status == "lost":
        fix = f"SELECT pg_drop_replication_slot('{name}');  -- then take a snapshot"
        findings.append(Finding(f"The server has removed log that the slot {name} needed.", fix))
    for table in await find(database, name, tables):
        findings.extend(_look(table, role))
    return findings


def _look(table: Table, role: str) -> Iterable[Finding]:
    if table.oid is None:
        yield Finding(f"The table {table.name!r} does not exist, and is not captured.", "db.create_tables()")
    elif table.kind not in ("r", "p"):
        yield Finding(
            f"{table.name!r} is no table: changes of views and foreign tables are not in the log.", fatal=True
        )
    elif table.persistence != "p":
        fix = f"ALTER TABLE {table.quoted} SET LOGGED;"
        yield Finding(f"Changes of the unlogged table {table.name!r} are not in the log.", fix, fatal=True)
    elif not table.owned and not table.published:
        fix = f"ALTER TABLE {table.quoted} OWNER TO {_quote(role)};"
        yield Finding(f"The role {role!r} does not own {table.name!r}, and may not publish it.", fix, fatal=True)
    elif table.short and not table.owned and table.name != OUTBOX:
        fix = " ".join(f"ALTER TABLE {name} REPLICA IDENTITY FULL;" for name in table.short)
        yield Finding(f"Updates and deletes of {table.name!r} do not tell the row before.", fix)


async def find(executor: Executor, name: str, tables: Sequence[str]) -> list[Table]:
    """The tables as the database has them, and that of messages where it exists."""
    found = [Table(*row) for row in await executor.fetch_all(_TABLES, [[*tables, OUTBOX], name])]
    return [table for table in found if table.name != OUTBOX or table.oid is not None]


async def publish(database: Database, name: str, tables: Sequence[str], known: set[int]) -> set[str]:
    """Publication and whole rows. Comes before the slot: what it tells must find the publication.

    Args:
        database: The database.
        name: Of the publication.
        tables: What it is to name.
        known: Object ids of tables that were seen to already; others are added. Asking for whole rows locks a table,
            and is not tried again and again.

    Returns:
        The tables that are not captured.
    """
    async with database.transaction({"lock_timeout": "10s"}) as transaction:
        await transaction.fetch_one("SELECT pg_advisory_xact_lock($1)", [_LOCK_KEY])
        found = await find(transaction, name, tables)
        wanted = [table for table in found if table.capturable]
        await _publish(transaction, name, wanted)
    for table in wanted:
        if table.owned and table.name != OUTBOX and table.oid is not None and table.oid not in known:
            known.add(table.oid)
            await _log_whole_rows(database, table.short)
    return {table.name for table in found} - {table.name for table in wanted}


async def make_slot(database: Database, name: str) -> None:
    """The slot. One that cannot be read any more is made anew; it begins after every place that was ever read from the
    old one.
    """
    await database.fetch_all(f"{_DROP_SLOT} AND wal_status = 'lost'", [name])
    try:
        await database.fetch_one(
            "SELECT pg_create_logical_replication_slot($1, 'pgoutput')::text "
            "WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
            [name],
        )
    except DatabaseError as error:
        # Another process was faster.
        if _state(error) != _DUPLICATE:
            raise


async def _publish(executor: Executor, name: str, tables: Sequence[Table]) -> None:
    row = await executor.fetch_one(
        "SELECT count(r.prrelid)::int FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid "
        "WHERE p.pubname = $1 GROUP BY p.oid",
        [name],
    )
    names = ", ".join(str(table.quoted) for table in tables)
    if row is None:
        of = f" FOR TABLE {names}" if names else ""
        await executor.execute(f"CREATE PUBLICATION {name}{of} WITH (publish_via_partition_root = true)")
    elif names and (row[0] != len(tables) or not all(table.published for table in tables)):
        await executor.execute(f"ALTER PUBLICATION {name} SET TABLE {names}")


async def _log_whole_rows(database: Database, tables: Sequence[str]) -> None:
    for table in tables:
        statement = f"ALTER TABLE {table} REPLICA IDENTITY FULL"
        try:
            # It locks the table for a moment. Who waits for a lock long makes all others wait.
            async with database.transaction({"lock_timeout": "2s"}) as transaction:
                await transaction.execute(statement)
        except DatabaseError as error:
            logger.warning("Updates and deletes of %s do not tell the row before: %s; %s", table, error, statement)


async def _drop_slot(database: Database, name: str) -> bool:
    """Drop a slot, if it exists; False where somebody reads from it."""
    try:
        await database.fetch_all(_DROP_SLOT, [name])
    except DatabaseError as error:
        if _state(error) not in (_IN_USE, _UNDEFINED):
            raise
        return _state(error) == _UNDEFINED
    return True


async def unmake(database: Database, name: str) -> None:
    """Remove slot and publication; tables log no more of their rows than before, unless others publish them.

    Raises:
        CaptureError: Somebody reads from the slot.
    """
    deadline = time.monotonic() + RELEASE_SECONDS
    while not await _drop_slot(database, name):
        if time.monotonic() > deadline:
            raise CaptureError(
                f"The replication slot {name} is in use.", hint="Stop 'dataflow capture' first, wherever it runs."
            )
        await asyncio.sleep(RELEASE_SECONDS / 40)
    async with database.transaction({"lock_timeout": "10s"}) as transaction:
        for (table,) in await transaction.fetch_all(_OWN_TABLES, [name]):
            await transaction.execute(f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT")
        await transaction.execute(f"DROP PUBLICATION IF EXISTS {name}")


def _state(error: DatabaseError) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

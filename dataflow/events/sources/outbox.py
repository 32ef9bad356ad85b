"""OutboxSource: changes that triggers wrote into a table, on any of the three databases.

Numbers of rows are given when they are written, and transactions commit in another order: who reads "all beyond the
last number" loses rows. So where several may write at once, capture itself gives each row a ``place`` when it first
sees it, in one transaction: no row is missed, whatever the order of commits, and none waits for another's long one. Of
one row of a table the places are in the order of its changes: the second change waits for the commit of the first (the
row's lock), so it has the greater ``seq`` and is never seen before it. On SQLite one transaction writes at a time, and
``seq`` itself is the place.

What it costs: every change is inserted, numbered (not on SQLite) and deleted once more, by the database that is written
to. What it does not tell: which changes were one transaction (except on PostgreSQL, as ``tx.id``), and changes of the
table's columns.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from dataflow.databases.interface import Database, Dialect, Row
from dataflow.databases.url import MEMORY, DatabaseURL
from dataflow.errors import CaptureError, DatabaseError, LostPositionError
from dataflow.events.envelope import Op
from dataflow.events.sources.interface import Chunk, Finding, Place, RowChange
from dataflow.events.sources.outbox_rows import Decode, row_decoder
from dataflow.events.sources.triggers import Trigger, fingerprint, now_ms, triggers
from dataflow.events.tables import (
    CAPTURE,
    OUTBOX,
    PASSING,
    ROWS_AT_ONCE,
    by_key,
    ensure_tables,
    first_note,
    marked,
    read_note,
    remove_tables,
    write_note,
)
from dataflow.models import ModelSpec

#: Seconds after which a quiet outbox gives an empty chunk.
_HEARTBEAT = 1.0
#: Seconds between two looks at an outbox of a server that had rows within the last second, and at a quiet one.
_BUSY, _QUIET = 0.003, 0.02
_MARK = "k"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_HAS_TRIGGER = {
    Dialect.POSTGRESQL: "SELECT DISTINCT tgname::text FROM pg_trigger WHERE NOT tgisinternal",
    Dialect.MYSQL: "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
    Dialect.SQLITE: "SELECT name FROM sqlite_master WHERE type = 'trigger'",
}


class OutboxSource:
    """See ``Source``.

    Args:
        database: The database.
        url: Where it is.
        models: Whose changes are captured.
        owner: Name of the instance; one instance at a time may capture a database in this way.
        may_create: Whether tables and triggers may be made.
    """

    mechanism = "outbox"

    def __init__(
        self, database: Database, url: DatabaseURL, models: Sequence[ModelSpec], owner: str, *, may_create: bool = True
    ) -> None:
        self._database = database
        self._url = url
        self._models = list(models)
        self._owner = owner
        self._may_create = may_create
        self._dialect = database.dialect
        self._decoders: Mapping[str, Decode] = {spec.table_name: row_decoder(spec) for spec in models}
        self._watch = None
        if self._dialect is Dialect.SQLITE:
            from dataflow.databases.sqlite_watch import SQLiteWatch

            self._watch = SQLiteWatch(url.database)

    async def probe(self) -> list[Finding]:
        """See Source."""
        findings = []
        if self._dialect is Dialect.SQLITE:
            if self._url.database == MEMORY:
                return [Finding("A database in memory is nobody else's to read.", "Use a file.", fatal=True)]
            findings.append(
                Finding("Which changes were one transaction is not known: each event is its own.", ""),
            )
            findings.append(
                Finding(
                    "INSERT OR REPLACE by other programs deletes rows without an event, unless their connection says:",
                    "PRAGMA recursive_triggers = ON",
                )
            )
        if self._dialect is Dialect.MYSQL:
            findings += await self._probe_mysql()
        missing = await self._missing(self._triggers(self._decoders))
        if not self._may_create and missing:
            findings.append(_not_made(missing))
        elif missing and self._dialect is Dialect.POSTGRESQL:
            findings += await self._probe_privileges()
        elif missing and self._dialect is Dialect.MYSQL:
            findings += await self._probe_super()
        return findings

    async def _probe_privileges(self) -> list[Finding]:
        """What PostgreSQL asks of who makes triggers."""
        row = await self._database.fetch_one(
            "SELECT quote_ident(current_schema()), quote_ident(current_user), "
            "has_schema_privilege(current_schema(), 'CREATE')"
        )
        assert row is not None
        schema, role, may_create = row
        findings = []
        if not may_create:
            problem = f"The role {role} may make neither tables nor functions in the schema {schema}."
            findings.append(Finding(problem, f"GRANT CREATE ON SCHEMA {schema} TO {role};", fatal=True))
        tables = await self._database.existing_columns(list(self._decoders))
        refused = await self._database.fetch_all(
            "SELECT quote_ident(name) FROM unnest($1::text[]) AS name "
            "WHERE NOT has_table_privilege(quote_ident(name), 'TRIGGER') ORDER BY 1",
            (list(tables),),
        )
        if names := ", ".join(name for (name,) in refused):
            problem = f"The role {role} may not make triggers on {names}."
            findings.append(Finding(problem, f"GRANT TRIGGER ON {names} TO {role};", fatal=True))
        return findings

    async def _probe_super(self) -> list[Finding]:
        """What MySQL asks of who makes triggers while the binary log is on."""
        row = await self._database.fetch_one("SELECT @@log_bin, @@log_bin_trust_function_creators")
        grants = [str(grant) for (grant,) in await self._database.fetch_all("SHOW GRANTS")]
        is_super = any("ALL PRIVILEGES ON *.*" in grant or "SUPER" in grant for grant in grants)
        if row is None or not row[0] or row[1] or is_super:
            return []
        fix = "SET GLOBAL log_bin_trust_function_creators = 1;  -- and in the server's configuration"
        return [Finding("With the binary log on, only SUPER may make triggers.", fix, fatal=True)]

    async def _probe_mysql(self) -> list[Finding]:
        findings = [Finding("TRUNCATE fires no triggers, and is not seen.", "DELETE FROM the table instead.")]
        cascading = sorted(
            f"{spec.name}.{item.name}"
            for spec in self._models
            for item in spec.fields
            if item.references and item.references.on_delete != "restrict"
        )
        if cascading:
            findings.append(
                Finding(
                    f"Foreign keys that delete or change rows by themselves fire no triggers: {', '.join(cascading)}.",
                    "Delete the rows that refer to one before that one, in the same transaction.",
                )
            )
        return findings

    async def prepare(self) -> None:
        """See Source."""
        await ensure_tables(self._database, may_create=self._may_create)
        owner = await first_note(self._database, "outbox_owner", self._owner)
        if owner != self._owner:
            raise CaptureError(
                f"The outbox of {self._database.masked_url} is read by the instance {owner!r} already.",
                hint="Give both instances one name, or remove the other's: dataflow capture --remove.",
            )
        await first_note(self._database, "outbox", uuid.uuid4().hex)
        await first_note(self._database, "place", "0")
        await self._prepare_triggers()

    async def _prepare_triggers(self) -> None:
        tables = await self._database.existing_columns(list(self._decoders))
        wanted = self._triggers(tables)
        mark = fingerprint(wanted)
        missing = await self._missing(wanted)
        if not self._may_create:  # somebody else keeps them
            if missing:
                finding = _not_made(missing)
                raise CaptureError(finding.problem, hint=finding.fix)
            return
        if not missing and await read_note(self._database, self._dialect, "triggers") == mark:
            return
        try:
            await self._make(wanted, tables, mark)
        except PASSING:
            raise
        except DatabaseError as error:
            statements = ";\n".join(text for trigger in wanted for text in (*trigger.drop, *trigger.create))
            raise CaptureError(
                f"The triggers that capture needs cannot be made: {error.message}",
                hint="Have the owner of the tables make them, and start capture with DATAFLOW_AUTO_MIGRATE=false:\n"
                f"{statements}",
            ) from error

    async def _make(self, wanted: Sequence[Trigger], tables: Iterable[str], mark: str) -> None:
        # Where DDL can be undone, no change goes by between the old trigger and the new one. MySQL cannot: there the
        # tables are locked meanwhile.
        async with self._database.transaction() as transaction:
            locked = self._dialect is Dialect.MYSQL
            if locked:
                names = ", ".join(f"`{name}` WRITE" for name in (*tables, OUTBOX, CAPTURE))
                await transaction.execute(f"LOCK TABLES {names}")
            try:
                for trigger in wanted:
                    for statement in (*trigger.drop, *trigger.create):
                        await transaction.execute(statement.replace("%", "%%") if locked else statement)
                await write_note(transaction, self._dialect, "triggers", mark)
            finally:
                if locked:
                    await transaction.execute("UNLOCK TABLES")

    async def _missing(self, wanted: Sequence[Trigger]) -> list[Trigger]:
        existing = {str(name) for (name,) in await self._database.fetch_all(_HAS_TRIGGER[self._dialect])}
        return [trigger for trigger in wanted if trigger.name not in existing]

    def _triggers(self, tables: Container[str]) -> list[Trigger]:
        """Those of the tables that there are; others come when there are more."""
        return [
            trigger for spec in self._models if spec.table_name in tables for trigger in triggers(self._dialect, spec)
        ]

    async def identity(self) -> str:
        """See Source: random, made with the outbox."""
        return f"outbox:{await read_note(self._database, self._dialect, 'outbox')}"

    async def chunks(self, after: Place | None) -> AsyncGenerator[Chunk]:
        """See Source. None: all that the outbox holds."""
        last = -1 if after is None else after.position
        if after is not None and await self._greatest() < last:
            raise LostPositionError(
                f"The outbox of {self._database.masked_url} has not come to place {last} yet, which was published.",
                hint="The database was restored from a copy.",
            )
        while True:
            rows = await self._next(last)
            for row in rows:
                yield self._chunk(row)
            if rows:
                last = rows[-1][0]
            else:
                yield Chunk(max(last, 0), 0, (), True, "", datetime.now(UTC))

    async def _greatest(self) -> int:
        """The last place that was given."""
        if self._dialect is not Dialect.SQLITE:
            return int(await read_note(self._database, self._dialect, "place") or 0)
        row = await self._database.fetch_one("SELECT seq FROM sqlite_sequence WHERE name = ?", (OUTBOX,))
        return 0 if row is None else int(row[0])

    async def _next(self, last: int) -> Sequence[Row]:
        """Rows beyond a place as soon as there are any; none after a while."""
        place = "seq" if self._watch else "place"
        sql = (
            f"SELECT {place}, op, name, row_before, row_after, tx, created_ms FROM {OUTBOX} "
            f"WHERE {place} > ? ORDER BY {place} LIMIT {ROWS_AT_ONCE}"
        )
        if self._watch is not None:
            return await self._watch.rows(sql, (last,), _HEARTBEAT)
        began = asyncio.get_running_loop().time()
        while True:
            rows = await self._database.fetch_all(marked(self._dialect, sql), (last,))
            if rows:
                return rows
            if not await self._number():
                now = asyncio.get_running_loop().time()
                if now > began + _HEARTBEAT:
                    return []
                await asyncio.sleep(_BUSY if now < began + _HEARTBEAT / 4 else _QUIET)

    async def _number(self) -> bool:
        """Give the rows that are new their places; whether there were any."""
        new = f"SELECT seq FROM {OUTBOX} WHERE place IS NULL ORDER BY seq LIMIT {ROWS_AT_ONCE}"
        if await self._database.fetch_one(new) is None:
            return False
        async with self._database.transaction() as transaction:
            last = int(await read_note(transaction, self._dialect, "place", lock=True) or 0)
            numbers = [row[0] for row in await transaction.fetch_all(new)]
            if not numbers:
                return False
            shift = last + 1 - numbers[0]
            # By their keys: a condition would wait for rows of transactions that are open.
            await transaction.execute(
                *by_key(self._dialect, f"UPDATE {OUTBOX} SET place = seq + {shift} WHERE", numbers)
            )
            await write_note(transaction, self._dialect, "place", str(numbers[-1] + shift))
        return True

    def _chunk(self, row: Row) -> Chunk:
        place, op, name, before, after, tx, created_ms = row
        moment = _EPOCH + timedelta(milliseconds=created_ms)
        transaction = tx or str(place)
        if op == _MARK:
            return Chunk(place, 0, (), True, transaction, moment, mark=name)
        if op == Op.MESSAGE:
            change = RowChange(Op.MESSAGE, name, after=msgspec.json.decode(after), tenant=before)
        else:
            decode = self._decoders.get(name)
            if decode is None:  # of a model that is not captured any more
                return Chunk(place, 0, (), True, transaction, moment)
            old, not_in_old = (None, ()) if before is None else decode(before)
            new, not_in_new = (None, ()) if after is None else decode(after)
            change = RowChange(Op(op), name, old, new, tuple(dict.fromkeys((*not_in_new, *not_in_old))))
        return Chunk(place, 0, (change,), True, transaction, moment)

    async def acknowledge(self, position: int) -> None:
        """See Source: what was published is deleted, a part at a time, so that writers do not wait."""
        place = "seq" if self._watch else "place"
        find = marked(
            self._dialect, f"SELECT seq FROM {OUTBOX} WHERE {place} <= ? ORDER BY {place} LIMIT {ROWS_AT_ONCE}"
        )
        while numbers := [row[0] for row in await self._database.fetch_all(find, (position,))]:
            await self._database.execute(*by_key(self._dialect, f"DELETE FROM {OUTBOX} WHERE", numbers))
            if len(numbers) < ROWS_AT_ONCE:
                return

    async def mark(self, token: str) -> None:
        """See Source."""
        sql = f"INSERT INTO {OUTBOX} (op, name, created_ms) VALUES ('{_MARK}', ?, {now_ms(self._dialect)})"
        await self._database.execute(marked(self._dialect, sql), (token,))

    async def close(self) -> None:
        """See Source."""
        if self._watch is not None:
            await self._watch.close()

    async def leave(self) -> None:
        """See Source: triggers go, and what they wrote. Those of another instance stay."""
        tables = await self._database.existing_columns([*self._decoders, CAPTURE])
        if CAPTURE not in tables:
            return
        owner = await read_note(self._database, self._dialect, "outbox_owner")
        wanted = self._triggers(tables)
        if owner != self._owner or len(await self._missing(wanted)) == len(wanted):
            return
        drops = [statement for trigger in wanted for statement in trigger.drop]
        try:
            for statement in drops:
                await self._database.execute(
                    statement.replace("%", "%%") if self._dialect is Dialect.MYSQL else statement
                )
        except DatabaseError as error:
            raise CaptureError(f"Triggers go on to fill {OUTBOX}: {error.message}", hint=";\n".join(drops)) from error
        find = f"SELECT seq FROM {OUTBOX} WHERE op <> '{Op.MESSAGE}' ORDER BY seq LIMIT {ROWS_AT_ONCE}"
        while numbers := [row[0] for row in await self._database.fetch_all(find)]:
            await self._database.execute(*by_key(self._dialect, f"DELETE FROM {OUTBOX} WHERE", numbers))
        await self._database.execute(f"DELETE FROM {CAPTURE} WHERE name = 'triggers'")

    async def remove(self) -> None:
        """See Source. What the outbox still holds is gone with it."""
        for trigger in self._triggers(await self._database.existing_columns(list(self._decoders))):
            for statement in trigger.drop:
                await self._database.execute(statement)
        await remove_tables(self._database)


def _not_made(missing: Sequence[Trigger]) -> Finding:
    statements = ";\n".join(statement for trigger in missing for statement in trigger.create)
    names = ", ".join(trigger.name for trigger in missing)
    return Finding(f"Triggers are missing, and none may be made here: {names}.", statements, fatal=True)

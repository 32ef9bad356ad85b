"""What a MySQL or MariaDB server must be told for its binary log to serve as a source of changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataflow.databases.mysql_replication import ReplicationConnection
from dataflow.databases.mysql_text import quote
from dataflow.events.sources.interface import Finding

#: Variables that are looked at; a server does not have all of them.
_VARIABLES = (
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "sync_binlog",
    "innodb_flush_log_at_trx_commit",
)
_KEEP = "and in the server's configuration, so that it survives a restart"


async def probe(connection: ReplicationConnection, tables: Sequence[str]) -> list[Finding]:
    """Everything that prevents reading the binary log (fatal), or makes it tell less."""
    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    rows = await connection.fetch_all(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})")
    values = {name.lower(): str(value).upper() for name, value in rows}
    if values.get("log_bin") not in ("ON", "1"):
        return [
            Finding(
                "The server writes no binary log (log_bin is OFF).",
                "[mysqld]\nlog_bin = binlog\nbinlog_format = ROW\nbinlog_row_metadata = FULL\nserver_id = 1\n"
                "and restart the server",
                fatal=True,
            )
        ]
    findings = list(_settings(values))
    missing = await _privileges(connection)
    # Without the privileges the server does not say which databases it logs.
    findings += missing or await _filters(connection)
    findings += await _cascades(connection, tables)
    return findings


def _settings(values: dict[str, str]) -> Iterator[Finding]:
    form = values.get("binlog_format", "ROW")
    if form != "ROW":
        yield Finding(
            f"The binary log holds statements instead of rows (binlog_format is {form}).",
            f"SET GLOBAL binlog_format = 'ROW';  -- {_KEEP}; open sessions keep the old format",
            fatal=True,
        )
    if values.get("binlog_transaction_compression") == "ON":
        yield Finding(
            "Transactions in the binary log are compressed in a way that cannot be read here.",
            f"SET GLOBAL binlog_transaction_compression = OFF;  -- {_KEEP}",
            fatal=True,
        )
    if "PARTIAL_JSON" in values.get("binlog_row_value_options", ""):
        yield Finding(
            "The binary log holds only the changed parts of JSON values.",
            f"SET GLOBAL binlog_row_value_options = '';  -- {_KEEP}",
            fatal=True,
        )
    image = values.get("binlog_row_image", "FULL")
    if image != "FULL":
        yield Finding(
            f"Events lack columns, before and after an update (binlog_row_image is {image}).",
            f"SET GLOBAL binlog_row_image = 'FULL';  -- {_KEEP}",
        )
    if values.get("binlog_row_metadata") != "FULL":
        yield Finding(
            "The binary log does not name columns: changes from before an ALTER TABLE cannot be read once it ran.",
            f"SET GLOBAL binlog_row_metadata = 'FULL';  -- {_KEEP}",
        )
    for name in ("sync_binlog", "innodb_flush_log_at_trx_commit"):
        if values.get(name, "1") != "1":
            yield Finding(
                f"A crash of the server may undo commits that events have told of ({name} is {values[name]}).",
                f"SET GLOBAL {name} = 1;  -- {_KEEP}",
            )


async def _privileges(connection: ReplicationConnection) -> list[Finding]:
    """Ask for what is needed, and see what the server says: privileges may come through roles."""
    ((account,),) = await connection.fetch_all("SELECT CURRENT_USER()")
    user, _, host = account.rpartition("@")
    grantee = f"'{user}'@'{host}'"
    monitor = "BINLOG MONITOR" if connection.version[1] else "REPLICATION CLIENT"
    grant = f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO {grantee};"
    refusal = await connection.refusal("SHOW BINARY LOGS")
    if refusal is not None:
        return [Finding(f"We may not see the server's binary logs: {refusal}.", grant, fatal=True)]
    if not await connection.may_read_log():
        return [Finding("We may not read the server's binary log.", grant, fatal=True)]
    return []


async def _filters(connection: ReplicationConnection) -> list[Finding]:
    statement = "SHOW MASTER STATUS"
    if not connection.version[1] and connection.version[0] >= (8, 2):
        statement = "SHOW BINARY LOG STATUS"
    rows = await connection.fetch_all(statement)
    only, never = (
        (set(filter(None, str(text or "").split(","))) for text in rows[0][2:4]) if rows else (set[str](), set[str]())
    )
    database = connection.database
    if database in never or (only and database not in only):
        return [
            Finding(
                f"The server leaves the database {database} out of its binary log.",
                "Remove binlog-do-db and binlog-ignore-db from the server's configuration, and restart it.",
                fatal=True,
            )
        ]
    return []


async def _cascades(connection: ReplicationConnection, tables: Sequence[str]) -> list[Finding]:
    """Changes that a foreign key makes in other tables are not in the log (before MySQL 9.6)."""
    version, mariadb = connection.version
    if not mariadb and version >= (9, 6):
        return []
    rows = await connection.fetch_all(
        "SELECT table_name, constraint_name, referenced_table_name, delete_rule, update_rule "
        "FROM information_schema.referential_constraints WHERE constraint_schema = %s ORDER BY 1, 2",
        connection.database,
    )
    return [
        Finding(
            f"Rows of {table} that the foreign key {key} changes by itself, when a row of {parent} goes or changes, "
            f"make no events (ON DELETE {on_delete}, ON UPDATE {on_update}).",
            f"Change the rows of {table} first, in the same transaction; or ALTER TABLE {quote(table)} "
            f"DROP FOREIGN KEY {quote(key)}, and add it again with ON DELETE RESTRICT.",
        )
        for table, key, parent, on_delete, on_update in rows
        if table in tables and not {on_delete, on_update} <= {"RESTRICT", "NO ACTION"}
    ]

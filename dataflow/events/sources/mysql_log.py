"""What a server says of its binary log: whose it is, which files there are, and where it ends."""

from __future__ import annotations

from dataflow.databases.mysql_replication import ReplicationConnection
from dataflow.errors import LostPositionError
from dataflow.events.sources.binlog import file_number, position_of


async def identity_of(connection: ReplicationConnection) -> str:
    """Which server's log it is: the UUID of MySQL; MariaDB, which has none, by its number and GTID domain."""
    if connection.version[1]:
        ((server, domain),) = await connection.fetch_all("SELECT @@server_id, @@gtid_domain_id")
        return f"mariadb:{server}:{domain}"
    ((uuid,),) = await connection.fetch_all("SELECT @@server_uuid")
    return f"mysql:{uuid}"


async def log_files(connection: ReplicationConnection) -> dict[int, tuple[str, int]]:
    """Number → name and size of the log's files."""
    return {file_number(name): (name, int(size)) for name, size, *_ in await connection.fetch_all("SHOW BINARY LOGS")}


async def log_file(connection: ReplicationConnection, number: int) -> str:
    """Name of the file with a number.

    Raises:
        LostPositionError: The server does not have it, or not any more.
    """
    files = await log_files(connection)
    if number not in files:
        raise LostPositionError(
            f"The server no longer has file {number} of its binary log; it has {min(files)} to {max(files)}.",
            hint="Keep it for longer (SET GLOBAL binlog_expire_logs_seconds = 604800;), and take a snapshot.",
        )
    return files[number][0]


async def end_of_log(connection: ReplicationConnection) -> int:
    """Where the next transaction will start, or a later one."""
    files = await log_files(connection)
    number = max(files)
    return position_of(number, files[number][1])

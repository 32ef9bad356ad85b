"""DatabaseOptions: how a database is reached and how its pools behave."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from dataflow.errors import ConfigurationError

MySQLDriver = Literal["auto", "aiomysql", "asyncmy"]


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How a database is reached and how its pools behave. Times are in seconds.

    Attributes:
        pool_size: Connections a pool keeps open. On SQLite: connections that read.
        max_overflow: Connections it opens beyond that under load, and closes again when they have been idle.
        pool_timeout: How long a call waits for a connection before PoolTimeoutError.
        pool_recycle: Age at which a connection is replaced; 0 or less is never.
        pool_pre_ping: Check a connection that was idle for half a minute before it is used.
        enable_connection_pooling: If False, every statement or transaction opens and closes its own connection
            (PostgreSQL, MySQL).
        connect_timeout: How long opening a connection may take.
        echo: Log every statement (never its values) at INFO on the logger ``dataflow.sql``.
        application_name: What the server's lists of sessions call us (PostgreSQL, MySQL).
        ssl_ca: Path of the certificates that the server's must be signed by.
        ssl_cert: Path of our certificate.
        ssl_key: Path of its key.
        statement_cache_size: Prepared statements kept per connection (PostgreSQL); 0 behind PgBouncer in transaction
            mode.
        charset: Character set of the connection (MySQL).
        mysql_driver: ``"aiomysql"``, ``"asyncmy"``, or ``"auto"``: asyncmy where it is installed.
        enable_wal: Write-ahead log, so that readers and the writer do not block each other (SQLite files).
        cache_size_mb: Page cache of a connection in MB (SQLite).
        busy_timeout: How long a statement waits for another process that writes (SQLite).
    """

    pool_size: int = 10
    max_overflow: int = 20
    pool_timeout: float = 30.0
    pool_recycle: float = 3600.0
    pool_pre_ping: bool = True
    enable_connection_pooling: bool = True
    connect_timeout: float = 10.0
    echo: bool = False
    application_name: str = "dataflow"
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    statement_cache_size: int = 256
    charset: str = "utf8mb4"
    mysql_driver: MySQLDriver = "auto"
    enable_wal: bool = True
    cache_size_mb: int = 64
    busy_timeout: float = 30.0

    def __post_init__(self) -> None:
        least = {
            "pool_size": 1,
            "max_overflow": 0,
            "pool_timeout": 0,
            "connect_timeout": 0,
            "statement_cache_size": 0,
            "cache_size_mb": 1,
            "busy_timeout": 0,
        }
        if self.mysql_driver not in get_args(MySQLDriver):
            known = ", ".join(get_args(MySQLDriver))
            raise ConfigurationError(f"mysql_driver={self.mysql_driver!r} is not known.", hint=f"Use one of {known}.")
        for name in (item.name for item in fields(self)):
            value = getattr(self, name)
            if name in least and value < least[name]:
                raise ConfigurationError(f"{name}={value!r} is too small.", hint=f"Use {least[name]} or more.")

"""Settings of a DataFlow instance: arguments first, then the environment, then defaults.

Every setting ``x`` can also be given as ``DATAFLOW_X`` in the environment; the database and the broker are also found
in ``DATABASE_URL`` and ``REDIS_URL``. What the guides describe and this version does not have yet is refused, never
silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataflow.databases.options import DatabaseOptions
from dataflow.errors import ConfigurationError, did_you_mean

#: Where data goes when nothing names a database: a SQLite file in the working directory.
DEFAULT_DATABASE_URL = "sqlite:///dataflow.db"

#: Other spellings in the guides.
_ALIASES = {"pool_max_overflow": "max_overflow", "connection_pool_size": "pool_size"}

#: Settings of the guides that have no effect yet. A value that switches them off is accepted, since off they are.
_LATER = {
    "monitoring": "metrics come with the worker's control features",
    "slow_query_threshold": "slow-query detection comes with monitoring",
    "query_cache_enabled": "the query cache is not built yet",
    "cache_ttl": "the query cache is not built yet",
    "cache_backend": "the query cache is not built yet",
    "multi_tenant": "tenant isolation comes with the query layer",
    "tenant_isolation": "tenant isolation comes with the query layer",
    "tenant_id_header": "tenant isolation comes with the query layer",
    "tenant_database_prefix": "tenant isolation comes with the query layer",
    "encryption_enabled": "field encryption is not built yet",
    "encryption_key": "field encryption is not built yet",
    "audit_logging": "audit logs are not built yet",
    "gdpr_compliance": "GDPR nodes are not built yet",
    "data_retention_days": "GDPR nodes are not built yet",
    "bulk_batch_size": "give batch_size to the bulk node instead",
    "read_replica_enabled": "read replicas are not built yet",
    "pool_reset_on_return": "connections are always returned clean",
    "log_level": "use logging.getLogger('dataflow').setLevel(…)",
    "log_config": "use logging.getLogger('dataflow')",
}


class Settings(BaseSettings):
    """Everything a DataFlow instance can be told; immutable.

    Attributes:
        database_url: ``postgresql://``, ``mysql://``, ``sqlite:///`` or ``:memory:``.
        redis_url: The broker of its queues; None is the embedded one.
        auto_migrate: Create missing tables when a model is first used.
        existing_schema_mode: Never create anything, whatever ``auto_migrate`` says.
        pool_size: Connections kept per database and event loop.
        max_overflow: Connections opened beyond them under load, closed when they are given back.
        pool_timeout: Seconds to wait for a free connection.
        pool_recycle: Seconds after which a connection is replaced.
        pool_pre_ping: Check a connection that was idle for long before it is used.
        pools: Pool settings by database URL, for settings shared by several instances.
        enable_connection_pooling: False opens a connection for each use.
        connect_timeout: Seconds to wait for a server to accept a connection.
        echo: Log every statement to the logger ``dataflow.sql``.
        ssl_ca: Path of the certificate authority that signed the server's certificate.
        ssl_cert: Path of the client certificate.
        ssl_key: Path of its key.
        charset: Character set of MySQL connections.
        enable_wal: Write-ahead log on SQLite files: readers do not wait for the writer.
        cache_size_mb: Page cache of each SQLite connection, in MiB.
        statement_cache_size: Prepared statements kept per PostgreSQL connection; 0 for PgBouncer's transaction mode.
        env: Names of environment variables that ``{{env.NAME}}`` in workflows may read.
    """

    model_config = SettingsConfigDict(
        env_prefix="DATAFLOW_", env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    database_url: str = Field(
        DEFAULT_DATABASE_URL, validation_alias=AliasChoices("DATAFLOW_DATABASE_URL", "DATABASE_URL")
    )
    redis_url: str | None = Field(None, validation_alias=AliasChoices("DATAFLOW_REDIS_URL", "REDIS_URL"))
    auto_migrate: bool = True
    existing_schema_mode: bool = False
    pool_size: PositiveInt = 10
    max_overflow: NonNegativeInt = 20
    pool_timeout: PositiveFloat = 30.0
    pool_recycle: NonNegativeFloat = 3600.0
    pool_pre_ping: bool = True
    pools: dict[str, dict[str, Any]] = Field(default_factory=dict)
    enable_connection_pooling: bool = True
    connect_timeout: PositiveFloat = 10.0
    echo: bool = False
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    charset: str = "utf8mb4"
    enable_wal: bool = True
    cache_size_mb: PositiveInt = 64
    statement_cache_size: NonNegativeInt = 256
    env: tuple[str, ...] = ()

    @property
    def may_create_tables(self) -> bool:
        return self.auto_migrate and not self.existing_schema_mode

    def database_options(self) -> DatabaseOptions:
        """What the database room needs of them."""
        names = DatabaseOptions.__dataclass_fields__.keys() & type(self).model_fields.keys()
        options = {name: getattr(self, name) for name in names}
        options.update(self.pools.get(self.database_url, {}))
        return DatabaseOptions(**options)


def load_settings(arguments: Mapping[str, Any]) -> Settings:
    """Settings from arguments and environment.

    Raises:
        ConfigurationError: A setting is unknown, has a wrong value, or is one that this version does not have yet.
    """
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _LATER:
            if value not in (False, None):
                raise ConfigurationError(f"The setting {name!r} has no effect in this version: {_LATER[name]}.")
            continue
        if name == "async_operations":
            if value is not True:
                raise ConfigurationError("The setting 'async_operations' is always on.")
            continue
        known = _ALIASES.get(name, name)
        if known not in Settings.model_fields:
            raise ConfigurationError(f"There is no setting {name!r}.", hint=did_you_mean(name, Settings.model_fields))
        if known in given:
            raise ConfigurationError(f"{name!r} and {known!r} are the same setting; give one of them.")
        given[known] = value
    for url, overrides in (given.get("pools") or {}).items():
        for key in overrides:
            if key not in ("pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping"):
                raise ConfigurationError(f"pools[{url!r}] has no option {key!r}.")
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = [_problem(item, given) for item in error.errors()]
        raise ConfigurationError("; ".join(problems)) from None


def _problem(item: Any, given: Mapping[str, Any]) -> str:
    name = str(item["loc"][0])
    source = f"The setting '{name}'" if name in given else f"The environment variable for '{name.lower()}'"
    return f"{source} is wrong: {item['msg']} (got {item['input']!r})."

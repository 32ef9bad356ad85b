"""Settings of a DataFlow instance: arguments first, then the environment, then defaults.

Every setting ``x`` can also be given as ``DATAFLOW_X`` in the environment; the database and the broker are also found
in ``DATABASE_URL`` and ``REDIS_URL``. What the guides describe and this version does not have yet is refused, never
silently ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from dataflow.databases.guarded import OUTAGES
from dataflow.databases.interface import Dialect
from dataflow.databases.options import DatabaseOptions, MySQLDriver
from dataflow.databases.url import parse_url
from dataflow.errors import ConfigurationError, did_you_mean
from dataflow.jobs.masking import mask_url
from dataflow.jobs.packing import PayloadLimits
from dataflow.jobs.signatures import MAX_AGE, SigningKeys
from dataflow.jobs.tls import with_certificates
from dataflow.resilience import Breakers, CircuitBreaker, CircuitBreakerConfig
from dataflow.workflows.codec import MAX_SIZE

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
    "tenant_id_header": "tenants named by a header come with the gateway; give the run its tenant_id",
    "tenant_database_prefix": "a database for each tenant is not built yet",
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


#: Settings whose values are never shown.
_SECRET = {"database_url", "redis_url", "pools", "signing_keys", "cursor_secret", "webhook_secrets"}
_SECRET |= {"DATAFLOW_DATABASE_URL", "DATABASE_URL", "DATAFLOW_REDIS_URL", "REDIS_URL"}


class Settings(BaseSettings):
    """Everything a DataFlow instance can be told; immutable.

    Attributes:
        database_url: ``postgresql://``, ``mysql://``, ``sqlite:///`` or ``:memory:``.
        redis_url: The broker of its queues; None is the embedded one.
        redis_ssl_ca: Path of the certificates that the broker's must be signed by (``rediss://``).
        redis_ssl_cert: Path of our certificate, where the broker asks for one.
        redis_ssl_key: Path of its key.
        signing_keys: Key id → secret (16 characters or more): jobs are signed, and workers run signed ones only. In the
            environment as JSON.
        signing_key_id: The key that signs; default the first. All of them verify.
        signature_max_age: Seconds from the moment a job is due in which it must have run, requeues included.
        max_payload_stored: Bytes that a job's payload may have in Redis, compressed or not.
        max_payload_unpacked: Bytes that it may have when decompressed.
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
        mysql_driver: ``"aiomysql"``, ``"asyncmy"``, or ``"auto"``: asyncmy where it is installed (extra ``fast``).
        enable_wal: Write-ahead log on SQLite files: readers do not wait for the writer.
        cache_size_mb: Page cache of each SQLite connection, in MiB.
        statement_cache_size: Prepared statements kept per PostgreSQL connection; 0 for PgBouncer's transaction mode.
        env: Names of environment variables that ``{{env.NAME}}`` in workflows may read.
        multi_tenant: Models are multi-tenant unless their ``__dataflow__`` says otherwise.
        tenant_isolation: ``"strict"``, the one there is: a run without a tenant sees and writes nothing.
        cursor_secret: What cursors of lists are signed with, the same in all processes of an app; default the database
            URL, which in a server's case holds a password. Another secret makes the cursors that are out invalid.
        webhook_secrets: What webhooks are signed with: ``whsec_…``, several parted by spaces; or host (``*`` for all
            others) → that. In the environment as text, or as JSON.
        webhook_allow: Names of hosts and networks, not public ones, that webhooks may be sent to, without TLS too.
        breaker_failure_threshold: Outages in a row (unreachable, lost, no free connection in ``pool_timeout``) that
            open the database's circuit breaker; 0 for none.
        breaker_success_threshold: Calls that must succeed before it closes.
        breaker_timeout: Seconds after which it lets one call through to see.
        breaker_shared: All processes of the app share it, through the broker (``redis_url``; not for SQLite).
    """

    model_config = SettingsConfigDict(
        env_prefix="DATAFLOW_", env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    database_url: str = Field(
        DEFAULT_DATABASE_URL, validation_alias=AliasChoices("DATAFLOW_DATABASE_URL", "DATABASE_URL")
    )
    redis_url: str | None = Field(None, validation_alias=AliasChoices("DATAFLOW_REDIS_URL", "REDIS_URL"))
    redis_ssl_ca: str | None = None
    redis_ssl_cert: str | None = None
    redis_ssl_key: str | None = None
    signing_keys: dict[str, SecretStr] = Field(default_factory=dict)
    signing_key_id: str | None = None
    signature_max_age: PositiveFloat = MAX_AGE
    max_payload_stored: PositiveInt = MAX_SIZE
    max_payload_unpacked: PositiveInt = MAX_SIZE
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
    mysql_driver: MySQLDriver = "auto"
    enable_wal: bool = True
    cache_size_mb: PositiveInt = 64
    statement_cache_size: NonNegativeInt = 256
    env: tuple[str, ...] = ()
    multi_tenant: bool = False
    tenant_isolation: Literal["strict"] = "strict"
    cursor_secret: SecretStr | None = Field(None, min_length=1)
    webhook_secrets: dict[str, SecretStr] | SecretStr | None = None
    webhook_allow: tuple[str, ...] = ()
    breaker_failure_threshold: NonNegativeInt = 5
    breaker_success_threshold: PositiveInt = 2
    breaker_timeout: PositiveFloat = 5.0
    breaker_shared: bool = False

    @property
    def may_create_tables(self) -> bool:
        return self.auto_migrate and not self.existing_schema_mode

    @property
    def cursor_key(self) -> bytes:
        """What cursors are signed with."""
        given = self.cursor_secret
        return (self.database_url if given is None else given.get_secret_value()).encode()

    def broker_url(self, url: str | None = None) -> str | None:
        """``url``, or that of the settings, with the settings' certificates where it is one of TLS.

        Raises:
            ConfigurationError: There are certificates, and the settings' URL is not one of TLS.
        """
        if url and not url.startswith("rediss://"):
            return url
        files = (self.redis_ssl_ca, self.redis_ssl_cert, self.redis_ssl_key)
        chosen = url or self.redis_url
        if chosen is None:
            if any(files):
                raise ConfigurationError("There are certificates for the broker, and no redis_url names one.")
            return None
        return with_certificates(chosen, *files)

    def signatures(self) -> SigningKeys | None:
        """What jobs are signed with.

        Raises:
            ConfigurationError: A key cannot be used.
        """
        if not self.signing_keys:
            if self.signing_key_id is not None:
                raise ConfigurationError("signing_key_id names a key, and there are no signing_keys.")
            return None
        secrets = {key_id: secret.get_secret_value() for key_id, secret in self.signing_keys.items()}
        return SigningKeys(secrets, self.signing_key_id, self.signature_max_age)

    def secrets_of_webhooks(self) -> dict[str, str]:
        """Host, or ``*`` for all others → what webhooks are signed with."""
        given = self.webhook_secrets
        by_host = given if isinstance(given, dict) else {"*": given} if given is not None else {}
        return {host: secret.get_secret_value() for host, secret in by_host.items()}

    def payload_limits(self) -> PayloadLimits:
        """What a payload may measure."""
        return PayloadLimits(self.max_payload_stored, self.max_payload_unpacked)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # URLs are plain text to those who use them, and passwords to those who read a log.
        for name, value in super().__repr_args__():
            if name in ("database_url", "redis_url") and value:
                yield name, mask_url(value)
            elif name == "pools":
                yield name, {mask_url(url): options for url, options in value.items()}
            else:
                yield name, value

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
    except SettingsError as error:
        # Its cause shows the text that could not be read, which may be a secret.
        raise ConfigurationError(f"A variable of the environment is not JSON: {error}.") from None


def database_breaker(settings: Settings, breakers: Breakers) -> CircuitBreaker | None:
    """The circuit breaker of an instance's database, under the database's masked URL; None where there is none.

    Raises:
        ConfigurationError: It is to be shared, and there is no broker.
    """
    if settings.breaker_failure_threshold == 0:
        return None
    url = parse_url(settings.database_url)
    config = CircuitBreakerConfig(
        settings.breaker_failure_threshold, settings.breaker_success_threshold, settings.breaker_timeout
    )
    shared = settings.breaker_shared and url.dialect is not Dialect.SQLITE
    return breakers.provide(url.masked, config, shared=shared, failures=OUTAGES)


def _problem(item: Any, given: Mapping[str, Any]) -> str:
    name = str(item["loc"][0])
    source = f"The setting '{name}'" if name in given else f"The environment variable for '{name.lower()}'"
    got = "" if name in _SECRET else f" (got {item['input']!r})"
    return f"{source} is wrong: {item['msg']}{got}."

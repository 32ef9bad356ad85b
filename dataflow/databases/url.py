"""DatabaseURL: what a database URL says, and its form that may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote, urlsplit

from dataflow.databases.interface import Dialect
from dataflow.errors import ConfigurationError, did_you_mean

MEMORY = ":memory:"

_SCHEMES = {
    "postgresql": Dialect.POSTGRESQL,
    "postgres": Dialect.POSTGRESQL,
    "postgresql+asyncpg": Dialect.POSTGRESQL,
    "mysql": Dialect.MYSQL,
    "mariadb": Dialect.MYSQL,
    "mysql+aiomysql": Dialect.MYSQL,
    "mariadb+aiomysql": Dialect.MYSQL,
    "mysql+asyncmy": Dialect.MYSQL,
    "mariadb+asyncmy": Dialect.MYSQL,
    "sqlite": Dialect.SQLITE,
    "sqlite+aiosqlite": Dialect.SQLITE,
}

#: TLS options of PostgreSQL URLs, with libpq's meaning.
POSTGRESQL_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation")

_OPTIONS = {
    Dialect.POSTGRESQL: {*POSTGRESQL_TLS, "host", "application_name", "connect_timeout", "statement_cache_size"}
    | {"target_session_attrs"},
    Dialect.MYSQL: {"charset", "collation", "ssl", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket"}
    | {"application_name", "connect_timeout"},
    Dialect.SQLITE: {"mode"},
}

#: Options that stand for a field of DatabaseOptions, and the type of its value.
OVERRIDES: Mapping[str, type[str] | type[int] | type[float]] = MappingProxyType(
    {
        "application_name": str,
        "connect_timeout": float,
        "statement_cache_size": int,
        "charset": str,
        "ssl_ca": str,
        "ssl_cert": str,
        "ssl_key": str,
    }
)


@dataclass(frozen=True, slots=True)
class DatabaseURL:
    """What a database URL says.

    Attributes:
        dialect: Which kind of database.
        database: Name of the database; on SQLite the path of its file, or ``":memory:"``.
        host: Host name or address.
        port: Port.
        user: User name.
        password: Password; not in the repr.
        driver: The driver that the scheme asks for, such as ``asyncmy`` in ``mysql+asyncmy``.
        options: What follows the ``?``.
    """

    dialect: Dialect
    database: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    driver: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def masked(self) -> str:
        """The URL without its password and its options, for messages and logs."""
        if self.dialect is Dialect.SQLITE:
            return MEMORY if self.database == MEMORY else f"sqlite:///{self.database}"
        user = f"{self.user or ''}{':***' if self.password else ''}"
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        port = f":{self.port}" if self.port else ""
        return f"{self.dialect}://{user}{'@' if user else ''}{host}{port}/{self.database}"

    @property
    def overrides(self) -> dict[str, str | int | float]:
        """Fields of DatabaseOptions that the URL sets.

        Raises:
            ConfigurationError: A number is none.
        """
        found: dict[str, str | int | float] = {}
        if self.driver and self.dialect is Dialect.MYSQL:
            found["mysql_driver"] = self.driver
        for name, text in self.options.items():
            if name in OVERRIDES:
                try:
                    found[name] = OVERRIDES[name](text)
                except ValueError:
                    raise ConfigurationError(f"{name}={text!r} in the database URL is not a number.") from None
        return found


def mask(url: str) -> str:
    """Any text that was meant as a URL, without what may be a password."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url.partition("?")[0], flags=re.DOTALL)


def parse_url(url: str) -> DatabaseURL:
    """Read a database URL.

    Understood are ``postgresql://user:password@host:port/database``, ``mysql://…`` (``mariadb://``; ``mysql+asyncmy://``
    and ``mysql+aiomysql://`` also choose the driver), ``sqlite:///`` and a path (relative to the working directory, or
    absolute with four slashes), ``sqlite://`` and ``:memory:``.

    Raises:
        ConfigurationError: It is none of these, or has an option that does not exist. The message has no password.
    """
    if url == MEMORY:
        return DatabaseURL(Dialect.SQLITE, MEMORY)
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigurationError(
            f"{mask(url)!r} is not a database URL.",
            hint="Write postgresql://user:password@host/database, mysql://…, sqlite:///path or ':memory:'.",
        )
    dialect = _SCHEMES.get(scheme.lower())
    if dialect is None:
        raise ConfigurationError(
            f"No database is known by {scheme!r}, in {mask(url)!r}.",
            hint=did_you_mean(scheme, ("postgresql", "mysql", "mariadb", "sqlite")),
        )
    if dialect is Dialect.SQLITE:
        return _sqlite(rest)
    return _server(dialect, url)


def _sqlite(rest: str) -> DatabaseURL:
    path, _, query = rest.partition("?")
    if path and not path.startswith("/"):
        raise ConfigurationError(
            f"'sqlite://{path}' has too few slashes.",
            hint=f"Write 'sqlite:///{path}' for a path relative to the working directory, four slashes for '/{path}'.",
        )
    options = _options(Dialect.SQLITE, query)
    if options.get("mode", "rwc") not in ("ro", "rw", "rwc"):
        raise ConfigurationError(f"mode={options['mode']!r} is not known.", hint="Use ro, rw or rwc.")
    return DatabaseURL(Dialect.SQLITE, path[1:] or MEMORY, options=options)


def _server(dialect: Dialect, url: str) -> DatabaseURL:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _malformed(url) from None
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        raise _malformed(url)
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database:
        raise ConfigurationError(
            f"{mask(url)!r} does not name one database.", hint=f"Write {dialect}://user:password@host/database."
        )
    return DatabaseURL(
        dialect,
        database,
        host=unquote(parts.hostname) if parts.hostname else None,
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        driver=parts.scheme.partition("+")[2] or None,
        options=_options(dialect, parts.query),
    )


def _malformed(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"The database URL {mask(url)!r} cannot be read.",
        hint="Characters such as @ : / ? # in a user name or password must be percent-encoded (urllib.parse.quote).",
    )


def _options(dialect: Dialect, query: str) -> Mapping[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS[dialect]:
            raise ConfigurationError(
                f"{dialect} URLs have no option {name!r}.", hint=did_you_mean(name, _OPTIONS[dialect])
            )
    return MappingProxyType(options)

from __future__ import annotations

import re

import pytest

from dataflow.databases import DatabaseOptions, Dialect, open_database
from dataflow.databases.url import mask, parse_url
from dataflow.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "dialect", "database", "masked"),
    [
        (
            "postgresql://app:s3cret@db:5432/shop",
            Dialect.POSTGRESQL,
            "shop",
            "postgresql://app:***@db:5432/shop",
        ),
        ("postgres://app@db/shop", Dialect.POSTGRESQL, "shop", "postgresql://app@db/shop"),
        ("postgresql+asyncpg://[::1]:5432/shop", Dialect.POSTGRESQL, "shop", "postgresql://[::1]:5432/shop"),
        ("postgresql:///shop?host=/run/postgresql", Dialect.POSTGRESQL, "shop", "postgresql:///shop"),
        ("mysql://root:p%40ss@h/d?charset=utf8mb4", Dialect.MYSQL, "d", "mysql://root:***@h/d"),
        ("mariadb+aiomysql://root@h/d", Dialect.MYSQL, "d", "mysql://root@h/d"),
        ("mysql+asyncmy://root@h/d", Dialect.MYSQL, "d", "mysql://root@h/d"),
        ("sqlite:///app.db", Dialect.SQLITE, "app.db", "sqlite:///app.db"),
        ("sqlite:////var/app.db?mode=ro", Dialect.SQLITE, "/var/app.db", "sqlite:////var/app.db"),
        ("sqlite:///a b%20c.db", Dialect.SQLITE, "a b%20c.db", "sqlite:///a b%20c.db"),
        ("sqlite://", Dialect.SQLITE, ":memory:", ":memory:"),
        ("sqlite:///:memory:", Dialect.SQLITE, ":memory:", ":memory:"),
        (":memory:", Dialect.SQLITE, ":memory:", ":memory:"),
    ],
)
def test_urls(url: str, dialect: Dialect, database: str, masked: str) -> None:
    parsed = parse_url(url)
    assert (parsed.dialect, parsed.database, parsed.masked) == (dialect, database, masked)


def test_user_and_password_are_decoded_and_the_password_is_not_shown() -> None:
    parsed = parse_url("mysql://a%40b:p%2Fss%20word@h:3307/d")
    assert (parsed.user, parsed.password, parsed.host, parsed.port) == ("a@b", "p/ss word", "h", 3307)
    assert "ss word" not in repr(parsed)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresl://u:SECRET@h/d", "Did you mean 'postgresql'?"),
        ("app.db", "sqlite:///path"),
        ("sqlite://app.db", "sqlite:///app.db"),
        ("postgresql://u:SECRET@h", "does not name one database"),
        ("postgresql://u:SECRET@h/a/b", "does not name one database"),
        ("postgresql://u:SECRET@h:port/d", "percent-encoded"),
        ("postgresql://u:SEC#RET@h/d", "percent-encoded"),
        ("postgresql://u:SEC/RET@h/d", "percent-encoded"),
        ("postgresql://u:SECRET@h/d?sslmod=require", "Did you mean 'sslmode'?"),
        ("mysql://u:SECRET@h/d?sslmode=require", "mysql URLs have no option 'sslmode'"),
        ("sqlite:///a.db?mode=readonly", "Use ro, rw or rwc"),
    ],
)
def test_bad_urls_are_refused_without_their_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        parse_url(url)
    assert "SECRET" not in str(caught.value)
    assert "SEC" not in str(caught.value).replace("SECRET", "")


def test_masking_hides_whatever_stands_before_the_last_at_sign() -> None:
    assert mask("postgresql://user:a@b:c/d@host/db?password=x") == "postgresql://user:***@host/db"


def test_options_in_the_url_win() -> None:
    url = "postgresql://u@h/d?connect_timeout=3&application_name=shop&statement_cache_size=0"
    database = open_database(url, DatabaseOptions(connect_timeout=20, pool_size=3))
    options = database.options  # type: ignore[attr-defined]
    assert (options.connect_timeout, options.application_name, options.statement_cache_size) == (3.0, "shop", 0)
    assert options.pool_size == 3


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="connect_timeout='soon'"):
        open_database("mysql://u@h/d?connect_timeout=soon")


@pytest.mark.parametrize("option", ["pool_size", "cache_size_mb"])
def test_sizes_that_cannot_work_are_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{option}=0 is too small"):
        DatabaseOptions(**{option: 0})  # type: ignore[arg-type]

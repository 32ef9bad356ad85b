"""Settings from arguments and environment."""

import pytest

from dataflow.errors import ConfigurationError
from dataflow.settings import DEFAULT_DATABASE_URL, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "DATAFLOW_POOL_SIZE", "DATAFLOW_MAX_OVERFLOW"):
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    settings = load_settings({})
    assert settings.database_url == DEFAULT_DATABASE_URL
    assert settings.redis_url is None
    assert (settings.pool_size, settings.max_overflow) == (10, 20)
    assert settings.may_create_tables


def test_the_environment_and_arguments_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
    monkeypatch.setenv("REDIS_URL", "redis://broker")
    monkeypatch.setenv("DATAFLOW_POOL_SIZE", "25")
    monkeypatch.setenv("DATAFLOW_MAX_OVERFLOW", "50")
    settings = load_settings({"max_overflow": 5})
    assert (settings.database_url, settings.redis_url) == ("postgresql://db/app", "redis://broker")
    assert (settings.pool_size, settings.max_overflow) == (25, 5)


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("DATAFLOW_POOL_SIZE", "")
    assert load_settings({}).database_url == DEFAULT_DATABASE_URL


def test_other_spellings_of_the_guides() -> None:
    settings = load_settings({"pool_max_overflow": 30, "connection_pool_size": 50})
    assert (settings.pool_size, settings.max_overflow) == (50, 30)
    with pytest.raises(ConfigurationError, match="the same setting"):
        load_settings({"pool_max_overflow": 30, "max_overflow": 20})


def test_schema_modes() -> None:
    assert not load_settings({"auto_migrate": False}).may_create_tables
    assert not load_settings({"existing_schema_mode": True}).may_create_tables


def test_pool_settings_by_url() -> None:
    pools = {"postgresql://prod/main": {"pool_size": 50, "max_overflow": 100}}
    here = load_settings({"database_url": "postgresql://prod/main", "pools": pools}).database_options()
    there = load_settings({"database_url": "postgresql://dev/main", "pools": pools}).database_options()
    assert (here.pool_size, here.max_overflow) == (50, 100)
    assert (there.pool_size, there.max_overflow) == (10, 20)
    with pytest.raises(ConfigurationError, match="has no option 'size'"):
        load_settings({"pools": {"postgresql://x": {"size": 1}}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool_sise": 5}, "Did you mean 'pool_size'"),
        ({"pool_size": "many"}, "'pool_size' is wrong"),
        ({"pool_size": 0}, "'pool_size' is wrong"),
        ({"tenant_id_header": "X-Tenant-ID"}, "no effect in this version"),
        ({"query_cache_enabled": True}, "no effect in this version"),
        ({"async_operations": False}, "always on"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(arguments)


def test_a_wrong_value_in_the_environment_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW_POOL_SIZE", "many")
    with pytest.raises(ConfigurationError, match="environment variable for 'pool_size' is wrong"):
        load_settings({})


def test_what_is_off_may_be_said_to_be_off() -> None:
    assert load_settings({"multi_tenant": False, "cache_ttl": None, "async_operations": True})


def test_cursors_are_signed_with_the_url_or_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLOW_CURSOR_SECRET", raising=False)
    urls = ["postgresql://app:one@db/shop", "postgresql://app:two@db/shop"]
    first, second = (load_settings({"database_url": url}).cursor_key for url in urls)
    assert first == load_settings({"database_url": urls[0]}).cursor_key
    assert first != second
    given = [load_settings({"database_url": url, "cursor_secret": "s3cret"}) for url in urls]
    assert given[0].cursor_key == given[1].cursor_key == b"s3cret"
    assert "s3cret" not in repr(given[0])
    monkeypatch.setenv("DATAFLOW_CURSOR_SECRET", "s3cret")
    assert load_settings({}).cursor_key == b"s3cret"
    with pytest.raises(ConfigurationError, match="cursor_secret"):
        load_settings({"cursor_secret": ""})


def test_signing_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW_SIGNING_KEYS", '{"2026-01": "sixteen characters", "2026-02": "sixteen characters!"}')
    first = load_settings({}).signatures()
    assert first is not None
    assert first.signing_key_id == "2026-01"
    monkeypatch.setenv("DATAFLOW_SIGNING_KEY_ID", "2026-02")
    second = load_settings({}).signatures()
    assert second is not None
    assert second.signing_key_id == "2026-02"
    monkeypatch.delenv("DATAFLOW_SIGNING_KEYS")
    assert load_settings({"signing_key_id": None}).signatures() is None
    with pytest.raises(ConfigurationError, match="there are no signing_keys"):
        load_settings({}).signatures()
    with pytest.raises(ConfigurationError, match="no redis_url"):
        load_settings({"redis_ssl_ca": "/ca.crt"}).broker_url()


@pytest.mark.parametrize(
    ("given", "by_host"),
    [
        ("whsec_one whsec_two", {"*": "whsec_one whsec_two"}),
        ('{"api.example.com": "whsec_one", "*": "whsec_two"}', {"api.example.com": "whsec_one", "*": "whsec_two"}),
    ],
)
def test_secrets_of_webhooks_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str, by_host: dict[str, str]
) -> None:
    monkeypatch.setenv("DATAFLOW_WEBHOOK_SECRETS", given)
    monkeypatch.setenv("DATAFLOW_WEBHOOK_ALLOW", '["hooks.internal", "10.1.0.0/16"]')
    settings = load_settings({})
    assert settings.secrets_of_webhooks() == by_host
    assert settings.webhook_allow == ("hooks.internal", "10.1.0.0/16")
    assert "whsec_one" not in repr(settings)
    monkeypatch.delenv("DATAFLOW_WEBHOOK_SECRETS")
    assert load_settings({}).secrets_of_webhooks() == {}
    with pytest.raises(ConfigurationError, match="webhook_secrets") as raised:
        load_settings({"webhook_secrets": {"a": {"whsec_three": 1}}})
    assert "whsec_three" not in str(raised.value)

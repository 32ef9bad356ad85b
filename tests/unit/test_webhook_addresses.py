"""Where webhooks may be sent: the wall against requests that only our own network should make."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dataflow.errors import ConfigurationError, WebhookAddressError, WebhookError
from dataflow.events.webhooks.addresses import AddressGuard, is_public, read_url


def guard(*found: str, allow: tuple[str, ...] = ()) -> AddressGuard:
    """A guard for which every name has these addresses."""

    async def resolve(_host: str, _port: int) -> list[str]:
        return list(found)

    return AddressGuard(allow, resolve)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://api.example.com/hooks/orders?a=%20b", "api.example.com", "/hooks/orders?a=%20b"),
        ("https://API.example.com", "api.example.com", "/"),
        ("https://api.example.com?x", "api.example.com", "/?x"),
        ("https://api.example.com:443/", "api.example.com", "/"),
        ("http://hooks.internal:8080/", "hooks.internal:8080", "/"),
        ("https://8.8.8.8/", "8.8.8.8", "/"),
        ("https://[2606:4700::1]:8443/", "[2606:4700::1]:8443", "/"),
    ],
)
def test_urls_that_are_read(url: str, authority: str, path: str) -> None:
    target = read_url(url)
    assert (target.authority, target.path) == (authority, path)
    assert "hooks/orders" not in str(target)


@pytest.mark.parametrize(
    "url",
    [
        None,
        b"https://api.example.com",
        "",
        "api.example.com",
        "//api.example.com",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "gopher://api.example.com",
        "unix:///var/run/docker.sock",
        "https://",
        "https:///path",
        "https://user@api.example.com",
        "https://user:password@api.example.com",
        "https://api.example.com@169.254.169.254/",
        "https://@api.example.com/",
        "https://api.example.com/#x",
        "https://api.example.com#@169.254.169.254/",
        "https://api.example.com\\@169.254.169.254/",
        "https://api.example.com/a b",
        "https://api.example.com/\r\nHost: localhost",
        "https://api.example.com/\x00",
        "https://api.example.com\t.evil.example/",
        "https://api.example.com:0/",
        "https://api.example.com:70000/",
        "https://api.example.com:8x/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[api.example.com]/",
        "https://bücher.example/",
        "https://①②⑦.0.0.1/",
        "https://api..example.com/",
        "https://api.example.com./",
        "https://-api.example.com/",
        "https://api.exam%70le.com/",
        "https://" + "a" * 64 + ".example/",
        "https://api.example.com/" + "a" * 2_000,
        # Numbers that resolvers take for addresses.
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://127.0.0.0x1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.1./",
        "https://127.0.0.256/",
        "https://api.example.1/",
        "https://0/",
    ],
)
def test_urls_that_are_refused(url: object) -> None:
    with pytest.raises(WebhookAddressError):
        read_url(url)


INTERNAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::",
    "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "192.0.1.1", "223.255.255.255"]
PUBLIC += ["2606:4700::1", "2a00:1450:4001::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("text", INTERNAL)
async def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(WebhookAddressError, match="no public address"):
        await guard(text).addresses(read_url("https://hooks.example/"))
    # One bad address among good ones is enough: nobody knows which of them would be taken.
    with pytest.raises(WebhookAddressError, match="no public address"):
        await guard("8.8.8.8", text, "1.1.1.1").addresses(read_url("https://hooks.example/"))


@pytest.mark.parametrize("text", PUBLIC)
async def test_public_addresses_with_tls_only(text: str) -> None:
    assert is_public(ip_address(text))
    assert await guard(text).addresses(read_url("https://hooks.example/")) == [str(ip_address(text))]
    with pytest.raises(WebhookAddressError, match="no https"):
        await guard(text).addresses(read_url("http://hooks.example/"))


async def test_what_is_allowed_by_network_or_name() -> None:
    inside = read_url("http://hooks.internal:8080/")
    for allow in ("10.1.0.0/16", "hooks.internal", "HOOKS.internal", "10.1.2.3"):
        assert await guard("10.1.2.3", allow=(allow,)).addresses(inside) == ["10.1.2.3"]
    for allow in ("10.2.0.0/16", "other.internal", "internal"):
        with pytest.raises(WebhookAddressError, match=r"hooks.internal:8080.*at 10.1.2.3"):
            await guard("10.1.2.3", allow=(allow,)).addresses(inside)
    with pytest.raises(WebhookAddressError):
        await guard("10.1.2.3", "127.0.0.1", allow=("10.0.0.0/8",)).addresses(inside)
    with pytest.raises(WebhookAddressError):
        await guard("::ffff:10.1.2.3", allow=("fd00::/8",)).addresses(inside)


@pytest.mark.parametrize("item", ["", "https://a", "a b", "10.0.0.1/8", "10.0.0", "*", "*.internal"])
def test_what_cannot_be_allowed(item: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook_allow"):
        AddressGuard((item,))


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain"])
async def test_names_are_asked_of_the_system(name: str) -> None:
    with pytest.raises((WebhookAddressError, WebhookError), match="no public address|cannot be resolved"):
        await AddressGuard().addresses(read_url(f"https://{name}/"))

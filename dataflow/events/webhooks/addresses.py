"""Which servers a webhook may be sent to: none that only our own network can reach, whatever a URL or a name says.

A URL comes from whoever declares a listener or enqueues a workflow. Without this, it would make a worker post to a
database's console, a cloud's metadata service, or to itself. Names are resolved here, once: what was checked is
connected to, so a name that changes its mind in between ("DNS rebinding") gains nothing.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from dataflow.errors import ConfigurationError, WebhookAddressError, WebhookError

Address = IPv4Address | IPv6Address
#: From a host and a port to its addresses, as text.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

#: Characters that a URL may have.
MAX_URL = 2_000
_PORTS = {"https": 443, "http": 80}

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
#: What resolvers take for a number: 2130706433, 0x7f.1, 127.1, 0177.0.0.1.
_NUMBER = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")

# Written down rather than asked of Python, whose versions differ: the registries of special-purpose addresses (IANA).
_NOT_PUBLIC = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
        "168.63.129.16/32",  # each machine's own host at Azure
    )
]  # fmt: skip
#: All that is given to anybody, …
_GLOBAL = IPv6Network("2000::/3")
#: … but for protocols, documentation, and tunnels that lead to an IPv4 address (Teredo, 6to4).
_NOT_GLOBAL = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
#: IPv6 addresses that stand for an IPv4 address: mapped ones, and those of NAT64.
_FOUR_IN_SIX = [IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read strictly.

    Attributes:
        scheme: ``https`` or ``http``.
        host: A name, or an address without brackets; lower case.
        port: Its port.
        path: Path and query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port, as the header ``Host`` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        # Paths of webhooks often are secrets.
        return f"{self.scheme}://{self.authority}/…"


def read_url(url: object) -> Target:
    """A URL, for a webhook.

    Raises:
        WebhookAddressError: It is none, or one that nobody needs.
    """
    if not isinstance(url, str) or len(url) > MAX_URL or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise _refused(f"is text of up to {MAX_URL} ASCII characters, without spaces and backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("has a host, and a port from 1 to 65535") from None
    if parts.scheme not in _PORTS:
        raise _refused("begins with https://")
    if "@" in parts.netloc:
        raise _refused("has no user and password: they would be in logs and in Redis")
    if parts.fragment or "#" in url:
        raise _refused("has no #fragment, which is never sent")
    if port == 0:
        raise _refused("has a host, and a port from 1 to 65535")
    host = parts.hostname or ""
    if "[" in parts.netloc:
        host = _literal(host, IPv6Address)
    elif _NUMBER.fullmatch(host):
        host = _literal(host, IPv4Address)
    elif not _NAME.fullmatch(host):
        raise _refused("has the name of a host, international ones as xn--…")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet at large."""
    if isinstance(address, IPv6Address):
        if not any(address in network for network in _FOUR_IN_SIX):
            return address in _GLOBAL and not any(address in network for network in _NOT_GLOBAL)
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    return not any(address in network for network in _NOT_PUBLIC)


class AddressGuard:
    """Decides where webhooks go.

    Args:
        allow: Names of hosts and networks of ours that they may be sent to as well, and without TLS.
        resolve: Asks for the addresses of a name; default the system.

    Raises:
        ConfigurationError: One of ``allow`` is neither.
    """

    def __init__(self, allow: Sequence[str] = (), resolve: Resolve | None = None) -> None:
        self._hosts: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        self._resolve = resolve or _resolve
        for item in map(str.lower, allow):
            try:
                self._networks.append(ip_network(item))
            except ValueError:
                if _NUMBER.fullmatch(item) or not _NAME.fullmatch(item):
                    raise ConfigurationError(
                        f"webhook_allow has names of hosts and networks, not {item!r}.",
                        hint="Such as hooks.internal, 10.1.0.0/16 or 127.0.0.1.",
                    ) from None
                self._hosts.add(item)

    async def addresses(self, target: Target) -> list[str]:
        """The addresses of a target, all of which may be connected to.

        Raises:
            WebhookAddressError: It is none for webhooks.
            WebhookError: Its name is not known, for now.
        """
        found = [ip_address(text) for text in await self._resolve(target.host, target.port)]
        if not found:
            raise WebhookError(f"{target}: the name has no address.")
        if target.host not in self._hosts:
            for address in found:
                self._check(target, address)
        return [str(address) for address in found]

    def _check(self, target: Target, address: Address) -> None:
        if any(address in network for network in self._networks):
            return
        if not is_public(address):
            raise WebhookAddressError(
                f"{target} is at {address}, which is no public address.",
                hint="If webhooks may go there, whoever declares them, put it into the setting webhook_allow.",
            )
        if target.scheme != "https":
            raise WebhookAddressError(f"{target} is no https://, so others could read what is sent there.")


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(f"The name {host} cannot be resolved: {error}.") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _literal(host: str, kind: type[Address]) -> str:
    try:
        if "%" not in host:  # a zone names an interface of ours
            return str(kind(host))
    except ValueError:
        pass
    raise _refused("has an address, if it has one, as 192.0.2.1 or [2001:db8::1]")


def _refused(rule: str) -> WebhookAddressError:
    return WebhookAddressError(f"The URL of a webhook {rule}.")

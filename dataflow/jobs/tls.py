"""TLS to the broker: certificates given as settings become part of its URL, as redis-py reads them there."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dataflow.errors import ConfigurationError
from dataflow.jobs.masking import mask_url


def with_certificates(url: str, ca: str | None = None, cert: str | None = None, key: str | None = None) -> str:
    """A broker's URL that names these files; what it names already stays.

    Args:
        url: ``rediss://…``.
        ca: Path of the certificates that the server's must be signed by.
        cert: Path of our certificate, where the server asks for one.
        key: Path of its key.

    Raises:
        ConfigurationError: The URL is not one of TLS.
    """
    files = {"ssl_ca_certs": ca, "ssl_certfile": cert, "ssl_keyfile": key}
    given = {name: path for name, path in files.items() if path}
    if not given:
        return url
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        raise ConfigurationError(
            f"There are certificates for the broker, and its URL {mask_url(url)!r} is one without TLS.",
            hint="It begins with rediss:// where the server speaks TLS.",
        )
    query = {**given, **dict(parse_qsl(parts.query, keep_blank_values=True))}
    return urlunsplit(parts._replace(query=urlencode(query)))

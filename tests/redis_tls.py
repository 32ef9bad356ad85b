"""A private Redis that speaks TLS only, with an authority and certificates that openssl makes."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from tests.servers import RedisServer, find_binary


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, openssl: str, folder: Path, run: object, name: str) -> None:
        self._openssl, self._run, self._folder, self._name = openssl, run, folder, name
        self._make(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self._path("key"), "-out", self.certificate,
        )  # fmt: skip

    @property
    def certificate(self) -> str:
        return self._path("crt")

    def _path(self, ending: str) -> str:
        return str(self._folder / f"{self._name}.{ending}")

    def _make(self, *arguments: str) -> None:
        self._run([self._openssl, *arguments])  # type: ignore[operator]

    def issue(self, name: str, alternatives: str) -> tuple[str, str]:
        """Paths of a certificate for these names, and of its key."""
        certificate, key, request, extra = (str(self._folder / f"{name}.{end}") for end in ("crt", "key", "csr", "ext"))
        Path(extra).write_text(f"subjectAltName={alternatives}\n")
        self._make(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        self._make(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._path("key"), "-CAcreateserial",
            "-days", "2", "-extfile", extra, "-out", certificate,
        )  # fmt: skip
        return certificate, key


class TLSRedisServer(RedisServer):
    """Redis that speaks TLS only, and asks clients for a certificate of its authority."""

    def prepare(self) -> None:
        super().prepare()
        openssl = find_binary("openssl")
        self.authority = Authority(openssl, self.folder, self._run, "authority")
        self.stranger = Authority(openssl, self.folder, self._run, "stranger")
        self.certificate, self.key = self.authority.issue("server", "DNS:localhost")
        self.client_certificate, self.client_key = self.authority.issue("client", "DNS:client")

    def command(self) -> list[str]:
        command = super().command()
        command[command.index("--port") + 1] = "0"
        options = {
            "tls-port": str(self.port),
            "tls-cert-file": self.certificate,
            "tls-key-file": self.key,
            "tls-ca-cert-file": self.authority.certificate,
            "tls-auth-clients": "yes",
        }
        return [*command, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def check(self, connection: socket.socket) -> bool:
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.load_cert_chain(self.client_certificate, self.client_key)
        with context.wrap_socket(connection, server_hostname="localhost") as encrypted:
            return super().check(encrypted)

    @property
    def url(self) -> str:
        return f"rediss://localhost:{self.port}/0"

    def settings(self) -> dict[str, str]:
        """Settings of an application that may use it."""
        return {
            "redis_url": self.url,
            "redis_ssl_ca": self.authority.certificate,
            "redis_ssl_cert": self.client_certificate,
            "redis_ssl_key": self.client_key,
        }

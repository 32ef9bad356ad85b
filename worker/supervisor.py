"""Supervisor: keeps several worker processes running, which one Python process cannot do on several cores.

Processes are started anew, never forked from a running event loop, so they share nothing. Each holds the reading end of
a pipe whose other end the supervisor holds: should the supervisor be killed, they notice and end in good order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count

logger = logging.getLogger("dataflow.worker")

#: Seconds before a process that died is replaced: at first, and at most.
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
#: Seconds that a process must have lived for its death not to count as one of a row.
HEALTHY = 60.0
#: Seconds that processes have to end after the second signal; then they are killed.
PATIENCE = 10.0
#: How a worker ends that cannot begin: a wrong option, an application that cannot be loaded, no broker.
CANNOT_START = 2


class Supervisor:
    """Keeps worker processes running until it is told to stop, or all have ended of their own accord.

    A process that ends with 0 was told to (a burst, a command) and is not replaced; any other is, after a pause that
    grows while deaths follow each other. Where the first process of a place cannot even start, all is ended: trying
    again would not help.

    Args:
        command: Gives the command line of a process, by its place (from 0) and a number that none had before it.
        processes: How many to keep.
    """

    def __init__(self, command: Callable[[int, int], Sequence[str]], processes: int) -> None:
        self._command = command
        self._places = range(processes)
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._numbers = count(1)
        self._stopping = asyncio.Event()
        self._signals = 0

    async def run(self) -> int:
        """Work to the end; the exit code: 0 where all ended well, 2 where they cannot start, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        codes = await asyncio.gather(*(self._keep(place) for place in self._places))
        if all(code == 0 for code in codes):
            return 0
        return CANNOT_START if CANNOT_START in codes else 1

    async def _keep(self, place: int) -> int:
        """Keep one process running; how the last one of this place ended."""
        deaths = 0
        first = True
        while True:
            began = time.monotonic()
            code = await self._run_one(place)
            if code == 0 or self._stopping.is_set():
                return code
            if first and code == CANNOT_START:
                self._stop()
                return code
            first = False
            deaths = 1 if time.monotonic() - began > HEALTHY else deaths + 1
            wait = min(FIRST_WAIT * 2 ** (deaths - 1), LONGEST_WAIT)
            logger.warning("A worker process %s; it is replaced in %g s.", _death(code), wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            if self._stopping.is_set():
                return code

    async def _run_one(self, place: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command(place, next(self._numbers)),
            stdin=asyncio.subprocess.PIPE,
            # Else Ctrl-C in a terminal would reach the processes twice: from the terminal, and from here.
            start_new_session=True,
        )
        self._running[place] = process
        logger.info("Started worker process %d.", process.pid)
        if self._stopping.is_set():
            self._send(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            del self._running[place]

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        logger.info("Got %s; %d worker process(es) are told.", number.name, len(self._running))
        self._stop()
        if self._signals == 2:
            asyncio.get_running_loop().call_later(PATIENCE, self._send, signal.SIGKILL)

    def _stop(self) -> None:
        self._stopping.set()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def _death(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def same_command(options: Sequence[str]) -> list[str]:
    """The command line of this very process with more options, of which the last of a name counts."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [sys.executable, "-m", "dataflow.cli", *arguments[:end], *options, *arguments[end:]]


async def watch_supervisor(ended: Callable[[], None]) -> asyncio.BaseTransport:
    """Have ``ended`` called when the supervisor that started this process is gone."""

    class Pipe(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended()

    transport, _ = await asyncio.get_running_loop().connect_read_pipe(Pipe, sys.stdin)
    return transport

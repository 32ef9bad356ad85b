"""The event loop thread behind synchronous calls."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataflow import loop_thread
from dataflow.loop_thread import run_sync


async def current_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_all_threads_share_one_loop() -> None:
    with ThreadPoolExecutor(8) as pool:
        loops = set(pool.map(lambda _: run_sync(current_loop()), range(64)))
    assert len(loops) == 1


async def test_it_works_inside_a_running_loop() -> None:
    assert run_sync(current_loop()) is not asyncio.get_running_loop()


def test_errors_reach_the_caller() -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        run_sync(fail())


def test_calling_it_from_its_own_thread_is_an_error_not_a_deadlock() -> None:
    async def nested() -> None:
        run_sync(current_loop())

    with pytest.raises(RuntimeError, match="await it"):
        run_sync(nested())


def test_an_interrupted_caller_cancels_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()
    started = threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def interrupted(self: object) -> None:
        assert started.wait(10)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop_thread._Call, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sync(work())
    assert cancelled.wait(10)


EXIT_SCRIPT = """
import asyncio
from dataflow.loop_thread import close_at_exit, run_sync

class Held:
    async def close_async(self):
        print("closed on", asyncio.get_running_loop() is loop)

held = Held()
close_at_exit(held)
async def here():
    return asyncio.get_running_loop()
loop = run_sync(here())
print("end of script")
"""


def test_what_is_held_is_closed_at_exit_on_the_loop() -> None:
    done = subprocess.run([sys.executable, "-c", EXIT_SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["end of script", "closed on True"]
    assert done.stderr == ""


def test_a_forked_child_starts_its_own_loop() -> None:
    run_sync(current_loop())
    script = (
        "import os, asyncio\n"
        "from dataflow.loop_thread import run_sync\n"
        "async def f(): return os.getpid()\n"
        "run_sync(f())\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if run_sync(f()) == os.getpid() else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.stdout.strip() == "0", done.stderr

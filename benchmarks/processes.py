"""Programs that a benchmark starts: each a process of its own, ended with what it was started in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.programs import environment

STOP_SECONDS = 15.0


def start(
    stack: ExitStack, command: Sequence[str | Path], folder: Path, log: Path, **variables: str
) -> subprocess.Popen[bytes]:
    """Start a program; what it says goes to ``log``. It is asked to end, and then killed, when the stack is closed; it
    does not outlive this process.
    """
    setpriv = shutil.which("setpriv")
    file = stack.enter_context(log.open("ab"))
    process = subprocess.Popen(
        [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []), *command],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""Running programs as users do: in a directory of their own, with the installed commands on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of DataFlow's, plus ``variables``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DATAFLOW_")}
    for name in ("DATABASE_URL", "REDIS_URL"):
        own.pop(name, None)
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    return {**own, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error", "COLUMNS": "120", **variables}


def run(command: Sequence[str | Path], folder: Path, *, seconds: float = 60, **variables: str) -> str:
    """Run a program to its end; its output.

    Raises:
        AssertionError: It failed; the text is what it said.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout

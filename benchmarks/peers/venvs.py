"""A virtualenv below ``.venv-peers/`` for each library that we are measured beside; kept until its packages change."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-peers"


class Installed(Protocol):
    """What has a virtualenv.

    Attributes:
        module: Its module in this package, and the name of the virtualenv.
        library: The distribution whose version is told.
        packages: What pip installs.
    """

    @property
    def module(self) -> str: ...
    @property
    def library(self) -> str: ...
    @property
    def packages(self) -> Sequence[str]: ...


class NotInstalledError(Exception):
    """A library cannot be installed; the text is pip's last line."""


def programs(peer: Installed, *, here: bool) -> tuple[Path, str]:
    """Folder of the programs of a peer's virtualenv, and the version of its library.

    Args:
        peer: Which.
        here: Take this interpreter's own environment, and install nothing.

    Raises:
        NotInstalledError: It cannot be installed, or is not installed here.
    """
    if here:
        try:
            return Path(sys.executable).parent, version(peer.library)
        except PackageNotFoundError:
            raise NotInstalledError(f"{peer.library} is not installed here") from None
    home = FOLDER / peer.module
    wanted = "\n".join(peer.packages)
    mark = home / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        venv.create(home, clear=True, with_pip=True)
        _run(home / "bin" / "python", "-m", "pip", "install", "--quiet", *peer.packages)
        mark.write_text(wanted)
    code = f"from importlib.metadata import version; print(version({peer.library!r}))"
    return home / "bin", _run(home / "bin" / "python", "-c", code)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalledError((done.stderr.strip() or "pip failed").splitlines()[-1])
    return done.stdout.strip()

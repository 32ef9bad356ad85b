"""What lies in the folder: files that are complete, and what their content is."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


class ChangedError(Exception):
    """A file was changed while it was read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is complete.

    Attributes:
        path: Where it is.
        name: Its name as text that a database can hold.
        stamp: Its size in bytes, and the time of its last change.
        mark: Changes whenever the file does: as long as it is the same, the content need not be read again.
    """

    path: Path
    name: str
    stamp: tuple[int, int]
    mark: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp[0]


def complete_files(folder: Path, settle: float) -> Iterator[Found]:
    """The CSV files of a folder that nobody writes any more, in order of their names.

    A file is left for later while its name begins with a dot or does not end in ``.csv`` (write to ``x.csv.part``, then
    rename it: that is the sure way), or while it was changed within the last ``settle`` seconds.
    """
    latest = time.time() - settle
    for path in sorted(folder.glob("*.csv")):
        if path.name.startswith("."):
            continue
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file() and facts.st_mtime <= latest:
            name = os.fsencode(path.name).decode(errors="backslashreplace")
            # Renaming or rewriting a file changes its ctime, which no program can set.
            mark = f"{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}"
            yield Found(path, name, (facts.st_size, facts.st_mtime_ns), mark)


def stamp(file: BinaryIO) -> tuple[int, int]:
    """Size and time of the last change of an open file."""
    facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex.

    Raises:
        ChangedError: It was written to meanwhile.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        before = stamp(file)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if stamp(file) != before:
            raise ChangedError(path.name)
    return digest

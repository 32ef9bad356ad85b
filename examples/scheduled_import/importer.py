"""The import: each batch's rows and the place that the file has been read to are committed together.

So whatever kills the process, the next one finds rows and place as one of them left both: nothing is written twice and
nothing is left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from dataflow import DataFlow
from dataflow.errors import VersionConflictError
from examples.scheduled_import.folder import ChangedError, Found, complete_files, sha256_of, stamp
from examples.scheduled_import.reader import BadRow, Batch, Convert, CsvReader, Position, UnusableFileError

logger = logging.getLogger(__name__)

#: Is told bytes done, bytes in all, and words.
Tell = Callable[[float, float, str], None]


class ImportStoppedError(Exception):
    """Files were given up; the others have been imported."""


class ImportTakenError(Exception):
    """Another process imports the same file."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the rows go.

    Attributes:
        db: The instance, with the models ImportedFile, FoundFile and BadRow.
        model: Name of the model of the rows.
        key: The fields by which a row that is there is recognised.
        columns: For each column of the files how its cells are read.
        batch: Records per transaction.
        max_bad: Bad rows that a file may have; with more it is given up.
    """

    db: DataFlow
    model: str
    key: Sequence[str]
    columns: Mapping[str, Convert]
    batch: int = 2_000
    max_bad: int = 100


async def import_folder(target: Target, folder: Path, *, settle: float, tell: Tell) -> dict[str, Any]:
    """Import what is new in a folder, file by file in order of their names; what came of each.

    Raises:
        ImportStoppedError: There is no such folder, a file cannot be opened, or one was given up in this call; such a
            file is not tried again. All others have been imported.
        ImportTakenError: Another process is at work.
    """
    left, problems = await _unfinished(target.db, folder, settle)
    total, before = sum(found.size for found, _ in left), 0
    files = []
    for found, sha256 in left:
        tell(before, total, found.name)
        try:
            record = await _import_file(target, found, sha256, partial(_tell_of_file, tell, before, total))
        except (ChangedError, FileNotFoundError):
            logger.warning("%s was changed or removed while it was read; the next call looks again.", found.name)
            continue
        before += found.size
        tell(before, total, found.name)
        files.append({name: record[name] for name in ("name", "state", "rows", "bad", "reason")})
        if record["state"] == "stopped":
            problems.append(f"{found.name}: {record['reason']}")
    if problems:
        raise ImportStoppedError(" ".join(problems))
    return {"files": files, "rows": sum(file["rows"] for file in files), "bad": sum(file["bad"] for file in files)}


async def _unfinished(db: DataFlow, folder: Path, settle: float) -> tuple[list[tuple[Found, str]], list[str]]:
    """Complete files whose content is not imported yet, with its SHA-256, each content once; and what is in the way."""
    if not await asyncio.to_thread(folder.is_dir):
        raise ImportStoppedError(f"There is no folder {folder}.")
    every = await asyncio.to_thread(lambda: list(complete_files(folder, settle)))
    known = {row["name"]: row async for row in db.stream("FoundFile")}
    ended = {row["sha256"] async for row in db.stream("ImportedFile", filter={"state": {"$ne": "importing"}})}
    left: dict[str, Found] = {}
    problems = []
    for found in every:
        row = known.get(found.name)
        if row is not None and row["mark"] == found.mark:
            sha256 = row["sha256"]
        else:
            try:
                sha256 = await _look_into(db, found)
            except (ChangedError, FileNotFoundError):
                continue  # for the next call
            except OSError as error:
                problems.append(f"{found.name}: {error.strerror}.")
                continue
        if sha256 not in ended:
            left.setdefault(sha256, found)
    return [(found, sha256) for sha256, found in left.items()], problems


async def _look_into(db: DataFlow, found: Found) -> str:
    """The SHA-256 of a file, noted for the next time."""
    sha256 = await asyncio.to_thread(sha256_of, found.path)
    seen = {"mark": found.mark, "sha256": sha256}
    async with db.transaction() as transaction:
        await transaction.run("FoundFileUpsertNode", {"where": {"name": found.name}, "create": seen, "update": seen})
    return sha256


def _tell_of_file(tell: Tell, before: int, total: int, record: Mapping[str, Any]) -> None:
    words = f"{record['name']}: {record['rows']:,} rows, {record['bad']:,} bad"
    tell(before + record["offset"], total, words)


async def _import_file(
    target: Target, found: Found, sha256: str, tell: Callable[[Mapping[str, Any]], None]
) -> Mapping[str, Any]:
    async with target.db.transaction() as transaction:
        new = {"name": found.name, "size": found.size, "state": "importing"}
        answer = await transaction.run("ImportedFileUpsertNode", {"where": {"sha256": sha256}, "create": new})
    with found.path.open("rb") as file:
        if stamp(file) != found.stamp:
            raise ChangedError(found.name)
        work = FileImport(target, file, answer["record"])
        while work.record["state"] == "importing":
            await work.step()
            tell(work.record)
        return work.record


class FileImport:
    """The import of one file, as far as its record says it is.

    Args:
        target: Where the rows go.
        file: The file, opened.
        record: Its row of ImportedFile; afterwards as it is in the database.
    """

    def __init__(self, target: Target, file: BinaryIO, record: Mapping[str, Any]) -> None:
        self.record = record
        self._target = target
        self._file = file
        self._stamp = stamp(file)
        self._reader: CsvReader | None = None

    async def step(self) -> None:
        """Import the next batch, and commit how far the file is read.

        Raises:
            ChangedError: The file is being changed.
            ImportTakenError: Another process did it first.
        """
        try:
            batch = await asyncio.to_thread(self._read)
        except UnusableFileError as error:
            await self._commit(Batch(self._position), state="stopped", reason=str(error))
            return
        if stamp(self._file) != self._stamp:
            raise ChangedError(self.record["name"])
        await self._commit(batch, state="done" if batch.ended else "importing")

    @property
    def _position(self) -> Position:
        return Position(self.record["offset"], self.record["line"])

    def _read(self) -> Batch:
        if self._reader is None:
            self._reader = CsvReader(self._file, self._target.columns)
        return self._reader.read(max(self._position, self._reader.start), self._target.batch)

    async def _commit(self, batch: Batch, *, state: str, reason: str | None = None) -> None:
        record, target = self.record, self._target
        async with target.db.transaction() as transaction:
            bad = list(batch.bad)
            if batch.rows:
                written = await transaction.run(
                    f"{target.model}BulkCreateNode",
                    {
                        "data": batch.rows,
                        "conflict_resolution": "upsert",
                        "conflict_on": list(target.key),
                        "on_error": "continue",
                        "batch_size": len(batch.rows),
                    },
                )
                bad += [self._refused(batch, error) for error in written["errors"]]
            total_bad = record["bad"] + len(bad)
            if total_bad > target.max_bad:
                state, reason = (
                    "stopped",
                    f"It has more than {target.max_bad:,} bad rows, up to line {batch.end.line:,}.",
                )
            fields = {
                "state": state,
                "reason": reason,
                "offset": batch.end.offset,
                "line": batch.end.line,
                "rows": record["rows"] + len(batch.rows) + len(batch.bad) - len(bad),
                "bad": total_bad,
                "ended_at": None if state == "importing" else datetime.now(UTC),
            }
            try:
                # The version says that nobody has moved it since it was read: two processes cannot both commit a batch.
                self.record = await transaction.run(
                    "ImportedFileUpdateNode", {"id": record["id"], "version": record["version"], "fields": fields}
                )
            except VersionConflictError:
                raise ImportTakenError(f"{record['name']} is being imported by another process.") from None
            if bad:
                rows = [{"file_id": record["id"], "line": b.line, "text": b.text, "reason": b.reason} for b in bad]
                await transaction.run("BadRowBulkCreateNode", {"data": rows})

    def _refused(self, batch: Batch, error: Mapping[str, Any]) -> BadRow:
        """A row that the database refused."""
        assert self._reader is not None
        place = batch.places[error["row"]]
        return BadRow(place.line + 1, self._reader.text(place), error["error"])

"""examples/scheduled_import on each database: what is imported, what is not, and what is said about it."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dataflow import DataFlow
from examples.scheduled_import import importer, models
from examples.scheduled_import.folder import sha256_of
from examples.scheduled_import.importer import (
    FileImport,
    ImportStoppedError,
    ImportTakenError,
    Target,
    import_folder,
)

HEADER = "sku,name,price,stock\n"


class Place:
    """A folder, and the tables of the example in a database."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.folder = folder
        self.target = target
        self.told: list[tuple[float, float, str]] = []

    def write(self, name: str, *lines: str, header: str = HEADER) -> Path:
        path = self.folder / name
        path.write_text(header + "".join(f"{line}\n" for line in lines))
        return path

    async def tick(self, **options: Any) -> dict[str, Any]:
        settle = options.pop("settle", 0)
        target = replace(self.target, **options)
        return await import_folder(target, self.folder, settle=settle, tell=lambda *told: self.told.append(told))

    async def rows(self, model: str, *fields: str, sort: str = "id") -> list[tuple[Any, ...]]:
        rows = self.target.db.stream(model, sort=sort, fields=list(fields))
        return [tuple(row[name] for name in fields) async for row in rows]

    async def products(self) -> dict[str, int]:
        return dict(await self.rows("Product", "sku", "stock"))  # type: ignore[arg-type]


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    folder = tmp_path / "inbox"
    folder.mkdir()
    async with DataFlow(database_url, pool_size=2) as db:
        for model in (models.Product, models.FoundFile, models.ImportedFile, models.BadRow):
            db.model(model)
        yield Place(folder, Target(db, "Product", ["sku"], models.COLUMNS, batch=3))


async def test_new_files_are_imported_once_in_order_of_their_names(place: Place) -> None:
    place.write("b.csv", "P1,Hammer,2.50,20", "P3,Saw,7,3")
    place.write("a.csv", *(f"P{number},Nail,0.01,{number}" for number in range(1, 9)))
    result = await place.tick()
    assert [(file["name"], file["state"], file["rows"], file["bad"]) for file in result["files"]] == [
        ("a.csv", "done", 8, 0),
        ("b.csv", "done", 2, 0),
    ]
    assert (result["rows"], result["bad"]) == (10, 0)
    stocks = {f"P{number}": number for number in range(1, 9)}
    assert await place.products() == {**stocks, "P1": 20, "P3": 3}
    assert (await place.rows("Product", "name", "price"))[0] == ("Hammer", Decimal("2.50"))
    done = [at for at, _, _ in place.told]
    assert done == sorted(done)
    assert place.told[-1][0] == place.told[-1][1] == sum(path.stat().st_size for path in place.folder.iterdir())
    assert ("a.csv: 3 rows, 0 bad") in [words for *_, words in place.told]

    assert (await place.tick())["files"] == []
    place.write("c.csv", "P9,Axe,20,1")
    assert [file["name"] for file in (await place.tick())["files"]] == ["c.csv"]


async def test_the_same_content_is_not_imported_again_and_a_changed_file_is(place: Place) -> None:
    first = place.write("a.csv", "P1,Hammer,2.50,20")
    await place.tick()
    # As written by hand since then: an import that ran again would undo it.
    async with place.target.db.transaction() as transaction:
        await transaction.run("ProductUpdateNode", {"filter": {"sku": "P1"}, "fields": {"stock": 5}})
    (place.folder / "copy.csv").write_bytes(first.read_bytes())
    first.rename(place.folder / "renamed.csv")
    assert (await place.tick())["files"] == []
    place.write("a.csv", "P1,Hammer,2.50,20")
    assert (await place.tick())["files"] == []
    assert await place.products() == {"P1": 5}

    changed = place.write("a.csv", "P1,Hammer,2.50,21")
    facts = changed.stat()
    assert [file["name"] for file in (await place.tick())["files"]] == ["a.csv"]
    # Changed, with the size and the time of before.
    place.write("a.csv", "P1,Hammer,2.50,22")
    os.utime(changed, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert [file["name"] for file in (await place.tick())["files"]] == ["a.csv"]
    assert await place.products() == {"P1": 22}


async def test_a_file_that_is_being_written_is_left_for_later(place: Place) -> None:
    young = place.write("a.csv", "P1,Hammer,2.50,20")
    place.write("b.csv.part", "P2,Hammer,2.50,20")
    place.write(".c.csv", "P3,Hammer,2.50,20")
    assert (await place.tick(settle=3_600))["files"] == []
    old = young.stat().st_mtime - 3_600
    os.utime(young, (old, old))
    assert [file["name"] for file in (await place.tick(settle=3_600))["files"]] == ["a.csv"]
    assert await place.products() == {"P1": 20}


async def test_bad_rows_are_recorded_and_stop_nothing(place: Place) -> None:
    lines = ["P1,Hammer,2.50,20", "P2,Saw,cheap,1", "P3,Axe,3,1", '"P4"x,Nail,1,1', "P5,Nail,1", ",Nail,1,1"]
    # The database refuses what the columns let through.
    place.write("a.csv", *lines, "Q" * 41 + ",Nail,1,1", "P6,Na\0il,1,1", "P7,Nail,1,1")
    result = await place.tick()
    assert [(file["state"], file["rows"], file["bad"]) for file in result["files"]] == [("done", 3, 6)]
    assert await place.products() == {"P1": 20, "P3": 1, "P7": 1}
    bad = await place.rows("BadRow", "line", "text", "reason", sort="line")
    assert [(line, text) for line, text, _ in bad] == [
        (3, "P2,Saw,cheap,1"),
        (5, '"P4"x,Nail,1,1'),
        (6, "P5,Nail,1"),
        (7, ",Nail,1,1"),
        (8, "Q" * 41 + ",Nail,1,1"),
        (9, "P6,Na\ufffdil,1,1"),
    ]
    reasons = [reason for *_, reason in bad]
    assert reasons[0] == "price is an amount such as 12.50, got 'cheap'."
    assert reasons[2] == "It has 3 cells, there are 4 columns."
    assert "sku" in reasons[4]


async def test_too_many_bad_rows_stop_a_file_and_the_others_are_imported(place: Place) -> None:
    place.write("a.csv", *(f"P{number},Nail,wrong,1" for number in range(20)))
    place.write("b.csv", "P1,Hammer,2.50,20", header="sku,name,prize,stock\n")
    place.write("c.csv", "P3,Hammer,2.50,20")
    with pytest.raises(ImportStoppedError) as caught:
        await place.tick(max_bad=4)
    assert "a.csv: It has more than 4 bad rows, up to line 7." in str(caught.value)
    assert "b.csv: Of its columns are 'price' missing; 'prize' not known." in str(caught.value)
    assert await place.products() == {"P3": 20}
    assert len(await place.rows("BadRow", "line")) == 6
    assert await place.rows("ImportedFile", "name", "state") == [
        ("a.csv", "stopped"),
        ("b.csv", "stopped"),
        ("c.csv", "done"),
    ]
    # It is said once, and the files are not tried again.
    assert (await place.tick(max_bad=4))["files"] == []
    # Until somebody says so: then it goes on where it stopped.
    async with place.target.db.transaction() as transaction:
        fields = {"state": "importing"}
        await transaction.run("ImportedFileUpdateNode", {"filter": {"name": "a.csv"}, "fields": fields})
    result = await place.tick(max_bad=100)
    assert [(file["state"], file["bad"]) for file in result["files"]] == [("done", 20)]
    assert len(await place.rows("BadRow", "line")) == 20


async def test_a_file_that_cannot_be_opened_or_a_folder_that_is_not_there_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("a.csv", "P0,Hammer,2.50,20")
    place.write("b.csv", "P1,Hammer,2.50,20")
    monkeypatch.setattr(importer, "sha256_of", _only_b)
    with pytest.raises(ImportStoppedError, match=r"a\.csv: Permission denied\."):
        await place.tick()
    assert await place.products() == {"P1": 20}
    place.folder = place.folder / "nowhere"
    with pytest.raises(ImportStoppedError, match="There is no folder"):
        await place.tick()


def _only_b(path: Path) -> str:
    """As it is for one who may not read a.csv; the tests may run as root, who may read all."""
    if path.name == "a.csv":
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return sha256_of(path)


async def _begun(place: Place, path: Path) -> FileImport:
    async with place.target.db.transaction() as transaction:
        answer = await transaction.run(
            "ImportedFileUpsertNode",
            {"where": {"sha256": "x"}, "create": {"name": path.name, "size": 1, "state": "importing"}},
        )
    return FileImport(place.target, path.open("rb"), answer["record"])


async def test_of_two_at_the_same_file_one_commits_a_batch(place: Place) -> None:
    path = place.write("a.csv", *(f"P{number},Nail,bad,{number}" for number in range(1, 3)), "P3,Nail,1,3")
    first, second = await _begun(place, path), await _begun(place, path)
    try:
        await first.step()
        with pytest.raises(ImportTakenError):
            await second.step()
    finally:
        first._file.close()
        second._file.close()
    assert await place.rows("ImportedFile", "rows", "bad") == [(1, 2)]
    assert len(await place.rows("BadRow", "line")) == 2


async def test_a_file_that_changes_while_it_is_imported_is_not_mixed(place: Place) -> None:
    path = place.write("a.csv", *(f"P{number},Nail,1,{number}" for number in range(1, 9)))

    def change(done: float, total: float, words: str) -> None:
        if words == "a.csv: 3 rows, 0 bad":
            place.write("a.csv", *(f"P{number},Nail,1,{number + 100}" for number in range(1, 9)))
            later = path.stat().st_mtime + 10
            os.utime(path, (later, later))

    result = await import_folder(place.target, place.folder, settle=0, tell=change)
    assert result["files"] == []
    assert await place.products() == {"P1": 1, "P2": 2, "P3": 3}
    now = path.stat().st_mtime - 20
    os.utime(path, (now, now))
    assert [file["rows"] for file in (await place.tick())["files"]] == [8]
    assert await place.products() == {f"P{number}": number + 100 for number in range(1, 9)}

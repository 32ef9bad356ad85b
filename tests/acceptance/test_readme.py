"""Every bash and python block of the README and of docs/ does what it says.

A document's blocks are run in order in one directory. A python block that begins with ``# name.py`` is written to that
file, for a later block to run or import; the others of a document are one program, run at its end. Lines of
bash that begin with ``make`` are only planned by make (``--dry-run``), since one of them is what runs this test; what
``make demo`` does is run by test_demo.py.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.programs import ROOT, environment, run

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w+)\.py\n")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str

    @property
    def module(self) -> str | None:
        """The module it is a file of, if it is named."""
        name = _FILE_NAME.match(self.text)
        return name[1] if self.language == "python" and name else None


def blocks(document: Path) -> list[Block]:
    return [Block(language, text) for language, text in _BLOCK.findall(document.read_text())]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_blocks_run(document: Path, tmp_path: Path, redis_url: str) -> None:
    programs = []
    for block in blocks(document):
        if block.module:
            (tmp_path / f"{block.module}.py").write_text(block.text)
        elif block.language == "python":
            programs.append(block.text)
        elif block.language == "bash":
            _run_bash(block.text, tmp_path, redis_url)
    if programs:
        program = tmp_path / f"{document.stem}_blocks.py"
        program.write_text("\n".join(programs))
        run([sys.executable, program], tmp_path, REDIS_URL=redis_url)


def _run_bash(text: str, folder: Path, redis_url: str) -> None:
    make = [line for line in text.splitlines() if line.startswith("make")]
    for line in make:
        planned = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, env=environment(), capture_output=True)
        assert planned.returncode == 0, planned.stderr.decode()
    rest = "\n".join(line for line in text.splitlines() if line not in make)
    if rest.strip():
        run(["bash", "-euo", "pipefail", "-c", rest], folder, REDIS_URL=redis_url)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_named_files_are_used_by_a_later_block(document: Path) -> None:
    found = blocks(document)
    for number, block in enumerate(found):
        if block.module:
            later = "\n".join(other.text for other in found[number + 1 :])
            assert re.search(rf"\b{block.module}(\.py|:| import)", later), f"nothing runs {block.module}.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in _LINK.findall(document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_readme_promises_the_two_commands() -> None:
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "bash")
    assert first.text.split("\n") == ["make demo", "make test", ""]


def test_the_documents_use_no_other_kind_of_block() -> None:
    kinds = {block.language for document in DOCUMENTS for block in blocks(document)}
    assert kinds <= {"bash", "python"}
    for document in DOCUMENTS:
        assert document.read_text().count("```") == 2 * len(blocks(document)), document.name

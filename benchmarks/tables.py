"""Tables of results, which can be pasted into the documentation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table in Markdown, its first column a label and the others numbers."""
    made = Table(*header, title=title, box=box.MARKDOWN)
    for place, column in enumerate(made.columns):
        column.no_wrap = True
        column.justify = "right" if place else "left"
    for row in rows:
        made.add_row(*row)
    return made


def against_budget(text: str, *, met: bool | None) -> str:
    """A cell that stands out where a budget was missed."""
    return f"[bold red]missed {text}[/]" if met is False else text


def machine_load() -> str:
    """How busy the machine is with everything that runs on it."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores, load {one:.1f} in the last minute, {five:.1f} in the last five"

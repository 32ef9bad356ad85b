"""How values are written for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

#: What a status looks like.
COLORS = {
    "finished": "green",
    "done": "green",
    "failed": "red",
    "stopped": "red",
    "lost": "red",
    "silent": "red",
    "started": "cyan",
    "running": "cyan",
    "busy": "cyan",
    "canceled": "yellow",
    "active": "green",
    "paused": "yellow",
    "broken": "red",
    "missed": "red",
    "taken": "red",
    "skipped": "yellow",
}


def console() -> Console:
    """Where tables are printed: stdout as it is now."""
    return Console(highlight=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table; numbers stand at the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        numeric = bool(rows) and all(row[place][:1].isdigit() or row[place] in ("", "-") for row in rows)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def status(text: str) -> str:
    """A status in its color."""
    color = COLORS.get(text)
    return f"[{color}]{text}[/]" if color else text


def when(moment: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them: ``1.2 ms``, ``3.4 s``, ``2 h 5 min``."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes as mebibytes."""
    return f"{count / 2**20:.0f} MiB"


def progress(done: float | None, total: float | None, note: str = "") -> str:
    """How far a node says it is: ``45 % (450 of 1,000) march.csv``; empty where it said nothing."""
    if done is None:
        return ""
    if not total:
        return f"{done:,.12g} {note}".rstrip()
    return f"{100 * done / total:.0f} % ({done:,.12g} of {total:,.12g}) {note}".rstrip()


def shape(value: Any) -> Any:
    """What kind of data a value is, without telling it: keys stay, values become their types and lengths."""
    if isinstance(value, Mapping):
        return {str(key): shape(item) for key, item in value.items()}
    if isinstance(value, str | bytes | list | tuple):
        return f"{type(value).__name__}({len(value)})"
    return type(value).__name__

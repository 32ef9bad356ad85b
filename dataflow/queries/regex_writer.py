"""Regular expressions written for PostgreSQL, and for PCRE2 (MariaDB) and ICU (MySQL) alike."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from dataflow.databases.interface import Dialect
from dataflow.queries.regex_classes import Ranges, negate
from dataflow.queries.regex_tree import Anchor, Characters, Choice, Node, Repeat, Sequence


@dataclass(frozen=True, slots=True)
class _Engine:
    """What differs between engines.

    Attributes:
        head: Begins a pattern; takes away what a server's settings or a column's collation would add.
        anchors: The start and the end of a text.
        any: Stands for every character.
        max_repeat: Highest number of repetitions.
        nul: Stands for the character NUL; None where no text has it.
    """

    head: str
    anchors: Mapping[Anchor, str]
    any: str
    max_repeat: int
    nul: str | None


_ENGINES = {
    Dialect.POSTGRESQL: _Engine(
        head="***:", anchors={Anchor.TEXT_START: "^", Anchor.TEXT_END: "$"}, any=".", max_repeat=255, nul=None
    ),
    # The dollar of PCRE2 and ICU is also the place before a last newline; ICU's dot takes CR and LF together.
    Dialect.MYSQL: _Engine(
        head="(?-imsx)",
        anchors={Anchor.TEXT_START: r"\A", Anchor.TEXT_END: r"\z"},
        any=r"[\x{0}-\x{10FFFF}]",
        max_repeat=1000,
        nul=r"\x{0}",
    ),
}
_WORD = "[0-9A-Z_a-z]"
_ANCHORS = {
    Anchor.LINE_START: "(?<![^\n])",
    Anchor.LINE_END: "(?![^\n])",
    Anchor.WORD_EDGE: f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))",
    Anchor.NO_WORD_EDGE: f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))",
}
# In a group of its own, since PostgreSQL does not repeat lookarounds.
_NOTHING = "(?:(?!))"
_SIGNS = {(0, None): "*", (1, None): "+", (0, 1): "?"}
_QUOTED = frozenset(string.punctuation) - {"_"}


def write(node: Node, dialect: Dialect) -> str:
    """A tree as a pattern for a database's own engine."""
    engine = _ENGINES[dialect]
    return engine.head + _write(node, engine)


def _write(node: Node, engine: _Engine) -> str:
    match node:
        case Characters(ranges):
            return _class(ranges, engine)
        case Anchor():
            return _ANCHORS.get(node) or engine.anchors[node]
        case Sequence(parts):
            return "".join([_write(part, engine) for part in parts])
        case Choice(options):
            return f"(?:{'|'.join([_write(option, engine) for option in options])})"
        case Repeat(body, least, most):
            return _repeat(_atom(body, engine), least, most, engine.max_repeat)


def _atom(node: Node, engine: _Engine) -> str:
    written = _write(node, engine)
    return written if isinstance(node, Characters | Choice) else f"(?:{written})"


def _repeat(atom: str, least: int, most: int | None, limit: int) -> str:
    if (least, most) in _SIGNS:
        return atom + _SIGNS[least, most]
    if most is None:
        return _repeat(atom, least, least, limit) + f"{atom}*" if least > limit else f"{atom}{{{least},}}"
    if most <= limit:
        return f"{atom}{{{least}}}" if least == most else f"{atom}{{{least},{most}}}"
    if least not in (0, most):
        return _repeat(atom, least, least, limit) + _repeat(atom, 0, most - least, limit)
    times, rest = divmod(most, limit)
    many = _repeat(atom, limit if least else 0, limit, limit)
    if times > 1:
        many = f"(?:{many}){{{times}}}"
    return many + (_repeat(atom, rest if least else 0, rest, limit) if rest else "")


def _class(ranges: Ranges, engine: _Engine) -> str:
    inside, outside = _items(ranges, engine), _items(negate(ranges), engine)
    if not outside:
        return engine.any
    if not inside:
        return _NOTHING
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return inside
    return f"[{inside}]" if len(inside) <= len(outside) else f"[^{outside}]"


def _items(ranges: Ranges, engine: _Engine) -> str:
    written = []
    for low, high in ranges:
        if low == 0 and engine.nul is None:
            if high == 0:
                continue
            low = 1
        written.append(_character(low, engine))
        if high > low:
            written.append(f"{'-' if high > low + 1 else ''}{_character(high, engine)}")
    return "".join(written)


def _character(point: int, engine: _Engine) -> str:
    if point == 0 and engine.nul is not None:
        return engine.nul
    character = chr(point)
    return f"\\{character}" if character in _QUOTED else character

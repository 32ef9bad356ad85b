r"""Regular expressions in RE2's dialect, with one meaning on every database.

RE2 itself runs on SQLite. For the others a pattern is written anew, in constructs that mean the same to PostgreSQL,
PCRE2 (MariaDB) and ICU (MySQL): classes as explicit characters, letter case as classes, conditions on lines and words
as lookarounds. What depends on an engine's flags, newline conventions or version of Unicode is not used.

::

    pattern ─ RE2 accepts it ─▶ regex_syntax ─▶ regex_tree ─▶ regex_writer ─▶ PostgreSQL, MySQL
                                     ▲
                               regex_classes (asks RE2)

A pattern asks only whether a text matches anywhere, so what may be missing at its ends is left out: ``.*abc.*`` is
``abc``. A pattern that is then nothing but literal text is a :class:`Literal`, for LIKE and its index.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dataflow.databases.interface import Dialect
from dataflow.queries.regex_classes import negate
from dataflow.queries.regex_syntax import parse
from dataflow.queries.regex_tree import Anchor, Characters, Choice, Node, Repeat, Sequence, may_be_empty
from dataflow.queries.regex_writer import write

#: Characters of a pattern.
MAX_PATTERN = 512
#: Bytes that RE2 may need for a pattern's program: what needs more, such as ``\pL{100}``, is refused in milliseconds.
MAX_PROGRAM = 1 << 20
#: Characters of a pattern as it is sent to PostgreSQL and MySQL.
MAX_WRITTEN = 100_000
_LONG_CHARACTER = Characters(negate(((0, 0x7F),)))


@dataclass(frozen=True, slots=True)
class Literal:
    """A pattern that is text, at the start or end of a value or anywhere in it."""

    text: str
    at_start: bool
    at_end: bool


@lru_cache(maxsize=512)
def translate(pattern: str, dialect: Dialect) -> Literal | str:
    """A pattern as the database takes it.

    Raises:
        ValueError: RE2 refuses it, in RE2's words, or it is too large.
    """
    _check(pattern)
    trimmed = _trim(parse(pattern))
    literal = Literal("", False, False) if may_be_empty(trimmed, ()) else _literal(trimmed)
    if literal is not None:
        return literal
    if dialect is Dialect.SQLITE:
        return pattern
    node: Node = trimmed
    if may_be_empty(node, (Anchor.NO_WORD_EDGE,)):
        # RE2 reads bytes: the insides of a character that has several are no edges of words.
        node = Choice((node, _LONG_CHARACTER))
    written = write(node, dialect)
    if len(written) > MAX_WRITTEN:
        raise ValueError("the pattern is too large")
    return written


def _check(pattern: str) -> None:
    import re2

    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern takes at most {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_PROGRAM
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(error.args[0].decode(errors="replace")) from None


def _trim(node: Node) -> Sequence:
    """Without what may be missing at the ends: where the rest matches, so does the whole."""
    parts = list(node.parts) if isinstance(node, Sequence) else [node]
    for end in (0, -1):
        while parts and isinstance(repeat := parts[end], Repeat) and repeat.least == 0:
            parts.pop(end)
        if parts and isinstance(repeat := parts[end], Repeat):
            parts[end] = Repeat(repeat.body, repeat.least, repeat.least)
    return Sequence(tuple(parts))


def _literal(sequence: Sequence) -> Literal | None:
    parts = list(sequence.parts)
    at_start = parts[:1] == [Anchor.TEXT_START]
    del parts[: int(at_start)]
    at_end = parts[-1:] == [Anchor.TEXT_END]
    del parts[len(parts) - at_end :]
    characters = [_only_character(part) for part in parts]
    text = [character for character in characters if character is not None]
    return Literal("".join(text), at_start, at_end) if len(text) == len(parts) else None


def _only_character(node: Node) -> str | None:
    """The character that is all a node matches, if that is so; NUL is in no text that can be bound."""
    if isinstance(node, Characters) and len(node.ranges) == 1:
        low, high = node.ranges[0]
        return chr(low) if low == high != 0 else None
    return None

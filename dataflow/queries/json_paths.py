"""Paths into JSON documents: ``meta.tags.0`` is the first of the ``tags`` in the field ``meta``.

Digits are an array index and nothing else; every other part is an object key and nothing else. A path reaches a
database as one quoted text that is a bound value, so parts are limited to what is quoted alike everywhere: no control
characters, quotes or backslashes, and no ``-`` in front, which MariaDB takes for a syntax error even in quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Parts of one path.
MAX_PARTS = 10
#: Characters of one part.
MAX_PART = 64
#: Digits of an array index: past 32 bits databases wrap around.
MAX_INDEX_DIGITS = 9

_FORBIDDEN = re.compile(r'["\\\x00-\x1f\x7f-\x9f\ud800-\udfff]')


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A place in the documents of a JSON field.

    Attributes:
        field: Name of the field.
        parts: Object keys and array indexes, outermost first; none for the whole document.
    """

    field: str
    parts: tuple[str | int, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return ".".join([self.field, *map(str, self.parts)])

    def down(self, name: str) -> JsonPath:
        """The place that a dotted name leads to from here.

        Raises:
            ValueError: The name cannot be part of a path; the text says why.
        """
        names = name.split(".")
        if len(self.parts) + len(names) > MAX_PARTS:
            raise ValueError(f"a path has at most {MAX_PARTS} parts")
        return JsonPath(self.field, (*self.parts, *map(_part, names)))

    def text(self, length: int | None = None) -> str:
        """The path of its first ``length`` parts, in the notation that all databases share: ``$."tags"[0]``."""
        shown = [f"[{part}]" if isinstance(part, int) else f'."{part}"' for part in self.parts[:length]]
        return "".join(["$", *shown])


def _part(part: str) -> str | int:
    if not part:
        raise ValueError("a path has an empty part")
    if part.isascii() and part.isdigit():
        if len(part) > MAX_INDEX_DIGITS:
            raise ValueError(f"an array index has at most {MAX_INDEX_DIGITS} digits")
        return int(part)
    if len(part) > MAX_PART:
        raise ValueError(f"a part of a path has at most {MAX_PART} characters")
    if part[0] == "-":
        raise ValueError("a part of a path does not begin with '-'")
    if _FORBIDDEN.search(part):
        raise ValueError("a path has no quotes, backslashes, control characters or lone surrogates")
    return part

"""Which characters a regular expression's class holds, as ranges of code points.

RE2 itself is asked, by letting it find the characters of a class in a text that has every character: so a class means
to every database what it means to RE2, with its version of Unicode and its folding of case.

The folding is simple: ``k``, ``K`` and the Kelvin sign are one letter, ``ß`` is ``ẞ`` but not ``ss``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import chain

#: Pairs of first and last code point, in order, none beside the next. Surrogates, which no text has, are in none.
Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
#: Every character.
ALL: Ranges = ((0, 0xD7FF), (0xE000, _LAST))
NEWLINE: Ranges = ((0x0A, 0x0A),)

_SURROGATES = (0xD800, 0xDFFF)
_ASCII = bytes(range(128))
#: Every character in order, except that the ends of an area speak for all of it where nothing is assigned, or all of it
#: to private use.
_PLANES = (
    range(0xD800),
    range(0xE000, 0x40000),
    (0x40000, 0xDFFFF),
    range(0xE0000, 0xE1000),
    (0xE1000, 0xEFFFF, 0xF0000, 0xFFFFD, 0xFFFFE, 0xFFFFF, 0x100000, 0x10FFFD, 0x10FFFE, _LAST),
)
#: What holds every letter that has another case, and more.
_CASED = r"\p{Lu}\p{Ll}\p{Lt}\p{Mn}\p{Nl}\x{24b6}-\x{24e9}"


def single(character: str) -> Ranges:
    """The class of one character; no surrogate."""
    return union([(ord(character), ord(character))])


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in any order as a class."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(chain.from_iterable(map(_without_surrogates, ranges))):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def negate(ranges: Ranges) -> Ranges:
    """Every other character."""
    starts = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), _LAST]
    return union(zip(starts, ends, strict=True))


@cache
def named(name: str) -> Ranges:
    r"""A class with a name, as it is written in brackets: ``\d``, ``[:alpha:]``, ``\pL``, ``\p{Greek}``."""
    alphabet = _everything() if name.startswith(r"\p") else _ASCII
    return union((ord(run[0]), ord(run[-1])) for run in _runs(name, alphabet))


@lru_cache(maxsize=1024)
def fold(ranges: Ranges) -> Ranges:
    """A class with its letters in every case."""
    written = "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in ranges)
    if not written:
        return ranges
    return union((*ranges, *((ord(letter), ord(letter)) for run in _runs(written, _cased(), "(?i)") for letter in run)))


def _runs(items: str, alphabet: bytes, flags: str = "") -> Iterator[str]:
    """The characters of ``alphabet`` that are in a class, as long as they stand together."""
    import re2

    # Two anchored matches by turns: to search would take RE2 several times as long.
    inside = re2.compile(f"{flags}[{items}]+".encode())
    outside = re2.compile(f"{flags}[^{items}]*".encode())
    at = outside.match(alphabet).end()
    while at < len(alphabet):
        run = inside.match(alphabet, at)
        yield run.group().decode()
        at = outside.match(alphabet, run.end()).end()


@cache
def _everything() -> bytes:
    return array("I", chain.from_iterable(_PLANES)).tobytes().decode("utf-32").encode()


@cache
def _cased() -> bytes:
    return "".join(_runs(_CASED, _everything())).encode()


def _without_surrogates(pair: tuple[int, int]) -> Iterator[tuple[int, int]]:
    low, high = pair
    for part in ((low, min(high, _SURROGATES[0] - 1)), (max(low, _SURROGATES[1] + 1), high)):
        if part[0] <= part[1]:
            yield part

"""RE2's syntax, read into a tree. RE2 has accepted the pattern before, so nothing is checked again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from dataflow.queries.regex_classes import ALL, NEWLINE, Ranges, fold, named, negate, single, union
from dataflow.queries.regex_tree import Anchor, Characters, Node, choice, empty_size, repeat, sequence

#: Groups inside groups.
MAX_DEPTH = 50
#: Classes and anchors in repetitions of what may be empty, such as 120 in ``(a?b?){60}``: PostgreSQL's time to compile
#: them grows with the cube of their number, to 0.1 s here.
MAX_EMPTY_SIZE = 250


def parse(pattern: str) -> Node:
    r"""The tree of a pattern.

    Raises:
        ValueError: It is too deep or too large by the limits above, or contains ``\C``, which is no character.
    """
    return _Parser(pattern).parse()


class _Flags(NamedTuple):
    """``(?i)``, ``(?m)`` and ``(?s)``; ``(?U)`` changes only which match is preferred."""

    fold: bool = False
    lines: bool = False
    dot_all: bool = False

    def changed(self, written: str) -> _Flags:
        on, _, off = written.partition("-")
        names = {"i": "fold", "m": "lines", "s": "dot_all"}
        changes = {names[flag]: flag not in off for flag in on + off if flag in names}
        return self._replace(**changes)


@dataclass(slots=True)
class _Group:
    """A group that is being read: its options so far, the parts of the last one, and the flags around it."""

    outside: _Flags
    options: list[Node]
    parts: list[Node]

    def end_option(self) -> None:
        self.options.append(sequence(self.parts))
        self.parts = []

    def close(self) -> Node:
        self.end_option()
        return choice(self.options)


_OPEN = re.compile(r"\((?:\?(?:P?<[^>]+>|(?P<flags>[imsU-]*)(?P<end>[:)])))?")
# RE2 refuses numbers past 1000, except that huge ones and those with a leading zero make the braces text.
_REPEAT = re.compile(
    r"(?:(?P<sign>[*+?])|\{(?P<least>0|[1-9][0-9]{0,3})(?P<comma>,(?P<most>0|[1-9][0-9]{0,3})?)?\})\??"
)
_ESCAPE = re.compile(r"\\(?:([pP])(\{\^?\w+\}|\w)|x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_POSIX = re.compile(r"\[:(\^?)(\w+):\]")
_CONTROLS = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class _Parser:
    """One walk over a pattern, without recursion, since its depth is the caller's choice."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags = _Flags()
        self.groups = [_Group(self.flags, [], [])]

    def parse(self) -> Node:
        while self.at < len(self.pattern):
            self.step()
        node = self.groups[0].close()
        if empty_size(node) > MAX_EMPTY_SIZE:
            raise ValueError(f"what may be empty is repeated so often that it has more than {MAX_EMPTY_SIZE} parts")
        return node

    def step(self) -> None:
        parts, character = self.groups[-1].parts, self.pattern[self.at]
        match character:
            case "(":
                self.open()
                return
            case "[":
                parts.append(self.bracket())
                return
            case "\\":
                parts.extend(self.escape())
                return
            case "*" | "+" | "?" | "{" if found := self.match(_REPEAT):
                parts[-1] = self.repeat(parts[-1], found)
                return
        self.at += 1
        match character:
            case "|":
                self.groups[-1].end_option()
            case ")":
                group = self.groups.pop()
                self.flags = group.outside
                self.groups[-1].parts.append(group.close())
            case "^":
                parts.append(Anchor.LINE_START if self.flags.lines else Anchor.TEXT_START)
            case "$":
                parts.append(Anchor.LINE_END if self.flags.lines else Anchor.TEXT_END)
            case ".":
                parts.append(Characters(ALL if self.flags.dot_all else negate(NEWLINE)))
            case _:
                parts.append(self.literal(character))

    def open(self) -> None:
        found = self.match(_OPEN)
        assert found is not None
        outside = self.flags
        if found["flags"]:
            self.flags = outside.changed(found["flags"])
        if found["end"] == ")":
            return
        if len(self.groups) > MAX_DEPTH:
            raise ValueError(f"groups nested deeper than {MAX_DEPTH}")
        self.groups.append(_Group(outside, [], []))

    def repeat(self, body: Node, found: re.Match[str]) -> Node:
        if found["sign"]:
            return repeat(body, *_SIGNS[found["sign"]])
        least = int(found["least"])
        if not found["comma"]:
            return repeat(body, least, least)
        return repeat(body, least, int(found["most"]) if found["most"] else None)

    def escape(self) -> Iterable[Node]:
        following = self.pattern[self.at + 1]
        anchors = {"A": Anchor.TEXT_START, "z": Anchor.TEXT_END, "b": Anchor.WORD_EDGE, "B": Anchor.NO_WORD_EDGE}
        if following in anchors:
            self.at += 2
            return [anchors[following]]
        if following == "Q":
            quoted, end, _ = self.pattern[self.at + 2 :].partition(r"\E")
            self.at += 2 + len(quoted) + len(end)
            return [self.literal(character) for character in quoted]
        if following == "C":
            raise ValueError(r"\C is a byte, not a character")
        return [Characters(self.escaped())]

    def bracket(self) -> Node:
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self.pattern[self.at] != "]":
            ranges.extend(self.item())
            first = False
        self.at += 1
        return Characters(negate(union(ranges)) if negated else union(ranges))

    def item(self) -> Ranges:
        """One item between brackets: a named class, a character, or a range of characters."""
        if found := self.match(_POSIX):
            return self.named(f"[:{found[2]}:]", negated=bool(found[1]))
        if self.pattern[self.at] == "\\" and self.pattern[self.at + 1] in "pPdDsSwW":
            return self.escaped()
        low = high = self.point()
        if self.pattern[self.at] == "-" and self.pattern[self.at + 1] != "]":
            self.at += 1
            high = self.point()
        ranges = union([(low, high)])
        return fold(ranges) if self.flags.fold else ranges

    def point(self) -> int:
        if self.pattern[self.at] == "\\":
            found = self.match(_ESCAPE)
            assert found is not None
            return _code_point(found)
        self.at += 1
        return ord(self.pattern[self.at - 1])

    def escaped(self) -> Ranges:
        found = self.match(_ESCAPE)
        assert found is not None
        kind, name, *_, other = found.groups()
        if kind:
            negated = (kind == "P") != name.startswith("{^")
            return self.named(rf"\p{name.replace('^', '')}", negated=negated)
        if other and other in "dDsSwW":
            return self.named(rf"\{other.lower()}", negated=other.isupper())
        ranges = single(chr(_code_point(found)))
        return fold(ranges) if self.flags.fold else ranges

    def named(self, name: str, *, negated: bool) -> Ranges:
        ranges = fold(named(name)) if self.flags.fold else named(name)
        return negate(ranges) if negated else ranges

    def literal(self, character: str) -> Node:
        return Characters(fold(single(character)) if self.flags.fold else single(character))

    def match(self, token: re.Pattern[str]) -> re.Match[str] | None:
        found = token.match(self.pattern, self.at)
        if found:
            self.at = found.end()
        return found


def _code_point(found: re.Match[str]) -> int:
    _, _, braced, plain, octal, other = found.groups()
    if braced or plain:
        return int(braced or plain, 16)
    return int(octal, 8) if octal else ord(_CONTROLS.get(other, other))

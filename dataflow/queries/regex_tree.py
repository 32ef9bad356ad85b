"""What a regular expression asks of a text, as a tree: whether it matches, so neither groups that capture nor which of
several matches is preferred are in it. Its builders leave out what says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from dataflow.queries.regex_classes import Ranges, union


class Anchor(Enum):
    """A condition on a place between characters."""

    TEXT_START = auto()
    TEXT_END = auto()
    LINE_START = auto()
    LINE_END = auto()
    WORD_EDGE = auto()
    NO_WORD_EDGE = auto()


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of a class; of an empty one there is none, so nothing matches."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``body`` from ``least`` to ``most`` times."""

    body: Node
    least: int
    most: int | None


Node: TypeAlias = Characters | Anchor | Sequence | Choice | Repeat

EMPTY = Sequence(())


def sequence(parts: Iterable[Node]) -> Node:
    """One after another."""
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Sequence) else [part])
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(options: list[Node]) -> Node:
    """One of several; options that are one character each are a class, so that ``(a|a)*`` is as cheap as ``a*``."""
    classes = [option.ranges for option in options if isinstance(option, Characters)]
    if len(classes) == len(options):
        return Characters(union(pair for ranges in classes for pair in ranges))
    return options[0] if len(options) == 1 else Choice(tuple(options))


def repeat(body: Node, least: int, most: int | None) -> Node:
    """A repetition; one of a repetition is said once, which gives an engine fewer choices to go back to."""
    if most == 0:
        return EMPTY
    if _is_empty(body):
        # A condition on a place holds twice where it holds once.
        return body if least else EMPTY
    if isinstance(body, Repeat) and body.least == 0:
        return Repeat(body.body, 0, None if body.most is None or most is None else body.most * most)
    if isinstance(body, Repeat) and (body.least, body.most) == (1, None):
        return Repeat(body.body, least, None)
    if least == most == 1:
        return body
    return Repeat(body, least, most)


def _is_empty(node: Node) -> bool:
    """Whether it never consumes a character."""
    match node:
        case Anchor():
            return True
        case Sequence(parts) | Choice(parts):
            return all(map(_is_empty, parts))
    return False


def may_be_empty(node: Node, place: Collection[Anchor] = tuple(Anchor)) -> bool:
    """Whether it matches the empty text in a place where these conditions hold, and no others."""
    match node:
        case Anchor():
            return node in place
        case Sequence(parts):
            return all(may_be_empty(part, place) for part in parts)
        case Choice(options):
            return any(may_be_empty(option, place) for option in options)
        case Repeat(body, least, _):
            return least == 0 or may_be_empty(body, place)
    return False


def empty_size(node: Node) -> int:
    """Size of those repetitions whose body may be empty."""
    match node:
        case Sequence(parts) | Choice(parts):
            return sum(map(empty_size, parts))
        case Repeat(body, least, most):
            return _size(node) if may_be_empty(body) else empty_size(body) * _times(least, most)
    return 0


def _size(node: Node) -> int:
    """Classes and anchors, with repetitions written out."""
    match node:
        case Sequence(parts) | Choice(parts):
            return sum(map(_size, parts))
        case Repeat(body, least, most):
            return _size(body) * _times(least, most)
    return 1


def _times(least: int, most: int | None) -> int:
    return max(1, least) if most is None else most

"""Operators that match text with a pattern.

``%`` stands for any text, ``_`` for one character, a backslash takes the next character as it is. ``$contains``,
``$startswith`` and ``$endswith`` become patterns too. ``$like`` and these three heed case; ``$ilike`` compares both
sides in lower case, see :mod:`dataflow.queries.letter_case`. ``$regex`` is in :mod:`dataflow.queries.regex`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.models import Kind
from dataflow.queries.leaves import FALSE, Leaves, Shape, Subject, invalid, mismatch
from dataflow.queries.regex import translate

#: Characters of one pattern.
MAX_PATTERN = 10_000
#: The character that quotes wildcards in patterns sent to PostgreSQL and MySQL.
ESCAPE = "!"


def like(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$like``."""
    return _pattern(leaves, subject, "$like", operand, _tokens)


def contains(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$contains``."""
    return _pattern(leaves, subject, "$contains", operand, lambda text: ["%", *_literal(text), "%"])


def starts_with(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$startswith``."""
    return _pattern(leaves, subject, "$startswith", operand, lambda text: [*_literal(text), "%"])


def ends_with(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$endswith``."""
    return _pattern(leaves, subject, "$endswith", operand, lambda text: ["%", *_literal(text)])


def like_any_case(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$ilike``."""
    shape = _pattern(leaves, subject, "$ilike", operand, _tokens)
    return FALSE if shape is FALSE else ("ilike", shape[1])


def matches_regex(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$regex``. A pattern that is only literal text becomes one of the shapes that an index may serve."""
    if not _takes_pattern(leaves, subject, "$regex", operand):
        return FALSE
    try:
        found = translate(operand, leaves.dialect)
    except ValueError as error:
        hint = "The dialect is RE2's, without lookarounds."
        raise invalid(leaves, subject.spec.name, f"$regex: {error}", hint) from None
    if isinstance(found, str):
        leaves.values.append(found)
        return ("regex", subject.key)
    # Equality of text in JSON is another reading than that of patterns.
    if found.at_start and found.at_end and isinstance(subject.key, str):
        leaves.values.append(found.text)
        return ("eq", subject.key)
    before, after = [] if found.at_start else ["%"], [] if found.at_end else ["%"]
    return _pattern(leaves, subject, "$regex", found.text, lambda text: [*before, *_literal(text), *after])


def _pattern(
    leaves: Leaves, subject: Subject, operator: str, operand: Any, tokens: Callable[[str], Iterable[str]]
) -> Shape:
    """Bind a pattern, given as tokens: ``%``, ``_``, or a backslash and the character it stands for."""
    if not _takes_pattern(leaves, subject, operator, operand):
        return FALSE
    name = subject.spec.name
    if len(operand) > MAX_PATTERN:
        raise invalid(leaves, name, f"{operator} takes at most {MAX_PATTERN:,} characters", None)
    try:
        translate = _GLOB if leaves.dialect is Dialect.SQLITE else _LIKE
        leaves.values.append("".join([translate.get(token) or token[-1] for token in tokens(operand)]))
    except ValueError as error:
        raise invalid(leaves, name, str(error), "Double it to mean a backslash.") from None
    return ("like", subject.key)


def _takes_pattern(leaves: Leaves, subject: Subject, operator: str, operand: Any) -> bool:
    """Whether there is a pattern: None is none."""
    name = subject.spec.name
    if subject.spec.type.kind is not Kind.STR:
        raise invalid(leaves, name, f"{operator} works on text, this is {subject.spec.type.label}", None)
    if operand is not None and (not isinstance(operand, str) or "\x00" in operand):
        raise mismatch(leaves, name, f"{operator} takes text", operand)
    return operand is not None


def _literal(text: str) -> list[str]:
    return [f"\\{character}" for character in text]


def _tokens(pattern: str) -> list[str]:
    found: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            following = next(characters, None)
            if following is None:
                raise ValueError("the pattern ends in a lone backslash")
            found.append(f"\\{following}")
        else:
            found.append(character if character in "%_" else f"\\{character}")
    return found


#: SQLite's LIKE ignores the case of ASCII letters; its GLOB does not.
_GLOB = {"%": "*", "_": "?", "\\*": "[*]", "\\?": "[?]", "\\[": "[[]"}
_LIKE = {"\\%": f"{ESCAPE}%", "\\_": f"{ESCAPE}_", f"\\{ESCAPE}": ESCAPE * 2}

"""Names derived from class names."""

from __future__ import annotations

import re

_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "index": "indices",
    "matrix": "matrices",
    "vertex": "vertices",
    "leaf": "leaves",
    "life": "lives",
    "half": "halves",
    "shelf": "shelves",
    "quiz": "quizzes",
}
_UNCOUNTED = {"data", "metadata", "media", "news", "series", "species", "sheep", "fish", "information", "equipment"}


def snake_case(name: str) -> str:
    """``OrderItem`` → ``order_item``, ``HTTPServer`` → ``http_server``."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def camel_case(name: str) -> str:
    """``order_item`` → ``OrderItem``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def plural(word: str) -> str:
    """English plural of a lower-case word.

    >>> [plural(word) for word in ("category", "status", "box", "day", "data")]
    ['categories', 'statuses', 'boxes', 'days', 'data']
    """
    if word in _UNCOUNTED:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word}s"


def table_name(class_name: str) -> str:
    """``OrderItem`` → ``order_items``, ``Person`` → ``people``."""
    *rest, last = snake_case(class_name).split("_")
    return "_".join([*rest, plural(last)])

"""Python's encodings for the character sets and collations of MySQL and MariaDB."""

from __future__ import annotations

from pymysql.charset import charset_by_id, charset_by_name


def encoding_of_charset(name: str) -> str:
    """Encoding of a character set by its name; UTF-8 where it is not known."""
    found = charset_by_name(name)
    return str(found.encoding) if found else "utf-8"


def encoding_of_collation(number: int) -> str | None:
    """Encoding of a collation by its number; None for the one of bytes, UTF-8 where it is not known.

    Not known are MariaDB's newer ones, such as those of UCA 14, which are of UTF-8.
    """
    try:
        charset = charset_by_id(number)
    except KeyError:
        return "utf-8"
    return None if charset.name == "binary" else str(charset.encoding)

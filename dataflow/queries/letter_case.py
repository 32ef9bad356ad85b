"""Lower case, letter by letter and the same on each database: what ``$ilike`` compares.

==========  =======================================================================================
PostgreSQL  ICU's lower case, with every sigma as σ
MySQL       the lower case of a collation that knows all of Unicode: MariaDB 10.10, MySQL 8.0.17
SQLite      Python's: ``dataflow_lower`` in :mod:`dataflow.databases.sqlite_functions`
==========  =======================================================================================

Two letters would be each database's own. The sigma at the end of a word is ς to some and σ to others, so all sigmas are
one. ``İ`` is ``i`` and a dot (U+0307), as Unicode has it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from dataflow.databases.interface import Dialect

Text = sa.ColumnElement[Any]

#: The server picks its own by version; an older one lowers by the tables of its general collations, which lack letters.
_ALL_OF_UNICODE = "/*!80017 COLLATE utf8mb4_0900_as_cs */ /*M!101001 COLLATE utf8mb4_uca1400_as_cs */"
#: By code point; every version has it.
_EXACT = "utf8mb4_bin"


def lower(text: Text, dialect: Dialect) -> Text:
    """A text in lower case, compared by code point."""
    match dialect:
        case Dialect.POSTGRESQL:
            return sa.func.replace(sa.func.lower(sa.collate(text, "und-x-icu")), *_SIGMAS)
        case Dialect.MYSQL:
            return _mysql_lower(text)
        case Dialect.SQLITE:
            return sa.func.dataflow_lower(text, type_=sa.Text())


def _mysql_lower(text: Text) -> Text:
    # Columns that others made may have another character set.
    unicode = sa.func.convert(text.op("USING")(sa.literal_column("utf8mb4")))
    # The collation that lowers must not compare: to it all characters without a weight are one.
    replaced = sa.func.replace(sa.func.replace(sa.collate(unicode, _EXACT), *_SIGMAS), *_DOTTED_I)
    lowered = sa.func.lower(UnaryExpression(replaced, modifier=custom_op(_ALL_OF_UNICODE)))
    return sa.collate(lowered, _EXACT)


_SIGMAS: tuple[Text, Text] = (sa.literal_column("'ς'"), sa.literal_column("'σ'"))
_DOTTED_I: tuple[Text, Text] = (sa.literal_column("'İ'"), sa.literal_column("'i\u0307'"))

"""SQLAlchemy's compilers for the three databases; importing them imports no driver."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql.pymysql import dialect as mysql_dialect
from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB
from sqlalchemy.dialects.postgresql.asyncpg import dialect as postgresql_dialect
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from dataflow.databases.interface import Dialect

#: Reserved words that SQLAlchemy's compiler for a database does not quote.
_UNKNOWN_WORDS = {
    Dialect.POSTGRESQL: {"lateral"},
    Dialect.MYSQL: RESERVED_WORDS_MARIADB,
    Dialect.SQLITE: {"returning"},
}


def new_dialect(dialect: Dialect) -> sa.Dialect:
    """A compiler of its own for a database, with the placeholders of its driver."""
    made: sa.Dialect
    match dialect:
        case Dialect.POSTGRESQL:
            made = postgresql_dialect()  # type: ignore[no-untyped-call]
        case Dialect.MYSQL:
            made = mysql_dialect(paramstyle="format")
        case Dialect.SQLITE:
            made = sqlite_dialect(paramstyle="qmark")
    preparer = made.identifier_preparer
    preparer.reserved_words = preparer.reserved_words | _UNKNOWN_WORDS[dialect]
    return made

"""SQLAlchemy's compilers for the three databases; importing them imports no driver."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql.pymysql import dialect as mysql_dialect
from sqlalchemy.dialects.postgresql.asyncpg import dialect as postgresql_dialect
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.sql.compiler import IdentifierPreparer

from dataflow.databases.interface import Dialect


def new_dialect(dialect: Dialect) -> sa.Dialect:
    """A compiler of its own for a database, with the placeholders of its driver, that quotes every name.

    SQLAlchemy would quote the reserved words that it knows. Which words a database reserves, and where, depends on its
    version.
    """
    made: sa.Dialect
    match dialect:
        case Dialect.POSTGRESQL:
            made = postgresql_dialect()  # type: ignore[no-untyped-call]
        case Dialect.MYSQL:
            made = mysql_dialect(paramstyle="format")
        case Dialect.SQLITE:
            made = sqlite_dialect(paramstyle="qmark")
    preparer = made.identifier_preparer = _quoting(type(made.identifier_preparer))(made)
    if dialect is Dialect.SQLITE:
        # SQLite takes a name in double quotes for a text where there is no such column.
        preparer.initial_quote = preparer.final_quote = preparer.escape_quote = "`"
        preparer.escape_to_quote = "``"
    return made


def _quoting(preparer: type[IdentifierPreparer]) -> type[IdentifierPreparer]:
    class Quoting(preparer):  # type: ignore[valid-type,misc]
        """Quotes always."""

        def quote(self, ident: str) -> str:
            return self.quote_identifier(ident)  # type: ignore[no-any-return]

    return Quoting

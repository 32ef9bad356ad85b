"""What other libraries offer for reading a database's log: each a program that appends every change to a Redis Stream.

They do less than capture does: no rows by the types of a model, no position as the entry's id, so that what is read
again comes twice; no snapshot, no trimming, no second process that takes over.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChangePeer:
    """A library that reads a log.

    Attributes:
        module: Its module in this package, which is run as a program, and the name of its virtualenv.
        library: The distribution whose version is printed.
        packages: What pip installs.
    """

    module: str
    library: str
    packages: tuple[str, ...]


#: Mechanism of ours → who is measured beside it.
CHANGE_PEERS = {
    "pgoutput": ChangePeer("psycopg2", "psycopg2-binary", ("psycopg2-binary", "redis[hiredis]")),
    "binlog": ChangePeer("mysql_replication", "mysql-replication", ("mysql-replication", "redis[hiredis]")),
}

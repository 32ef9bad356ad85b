"""PostgreSQL's log by psycopg2's replication connection and the plugin ``test_decoding``: changes come as text."""

from __future__ import annotations

import os
import select
from typing import Any

import psycopg2
import redis
from psycopg2.extras import LogicalReplicationConnection

SLOT = "peer"
#: Entries sent to Redis at once, at most.
BATCH = 500


def main() -> None:
    client = redis.Redis.from_url(os.environ["BENCH_REDIS_URL"])
    stream = os.environ["BENCH_STREAM"]
    connection = psycopg2.connect(os.environ["BENCH_DATABASE_URL"], connection_factory=LogicalReplicationConnection)
    cursor = connection.cursor()
    try:
        cursor.create_replication_slot(SLOT, output_plugin="test_decoding")
    except psycopg2.errors.DuplicateObject:
        connection.rollback()
    cursor.start_replication(SLOT, decode=True)
    pending: list[Any] = []
    while True:
        message = cursor.read_message()
        if message is not None:
            pending.append(message)
        if pending and (message is None or len(pending) >= BATCH):
            pipeline = client.pipeline(transaction=False)
            for one in pending:
                if one.payload.startswith("table public.readings"):
                    pipeline.xadd(stream, {"event": one.payload})
            pipeline.execute()
            cursor.send_feedback(flush_lsn=pending[-1].data_start)
            pending = []
        elif message is None:
            select.select([cursor], [], [], 1.0)


if __name__ == "__main__":
    main()

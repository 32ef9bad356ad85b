"""MySQL's binary log by mysql-replication (python-mysql-replication): rows as dicts, as JSON."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

import redis
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import XidEvent
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

#: Where it is in the log, in Redis: file and offset.
PLACE = "peer:place"


def main() -> None:
    client = redis.Redis.from_url(os.environ["BENCH_REDIS_URL"], decode_responses=True)
    stream = os.environ["BENCH_STREAM"]
    parts = urlsplit(os.environ["BENCH_DATABASE_URL"])
    settings = {"host": parts.hostname, "port": parts.port, "user": parts.username, "passwd": parts.password or ""}
    place = client.hgetall(PLACE)
    start = {"log_file": place["file"], "log_pos": int(place["offset"]), "resume_stream": True} if place else {}
    reader = BinLogStreamReader(
        connection_settings=settings,
        server_id=4711,
        blocking=True,
        is_mariadb=True,
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, XidEvent],
        only_tables=["readings"],
        **start,
    )
    for event in reader:
        if isinstance(event, XidEvent):  # a transaction cannot be read from its middle on
            client.hset(PLACE, mapping={"file": reader.log_file, "offset": reader.log_pos})
            continue
        pipeline = client.pipeline(transaction=False)
        for row in event.rows:
            pipeline.xadd(stream, {"event": json.dumps({"table": event.table, **row}, default=str)})
        pipeline.execute()


if __name__ == "__main__":
    main()

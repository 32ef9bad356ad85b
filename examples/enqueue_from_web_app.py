"""A web app that answers at once and leaves the work to a worker process.

``POST /orders`` enqueues a workflow and answers 202 with the job's id; ``GET /jobs/ID`` waits for the job, at most
five seconds, and tells its state and results. It is written for the standard library's threaded server, whose
handlers are synchronous; in an asynchronous framework the same calls are ``enqueue_async`` and ``wait_async``.

Run it: python examples/enqueue_from_web_app.py
It starts the server and one worker (on REDIS_URL, else on an embedded broker), sends one order, shows the answers, and
stops both.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.request
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from web_app import db

HERE = Path(__file__).parent


class Handler(BaseHTTPRequestHandler):
    """Two routes."""

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        job = db.queue("orders").enqueue("fulfil_order", order)
        self.answer(HTTPStatus.ACCEPTED, {"job": job.id})

    def do_GET(self) -> None:
        job = db.job(self.path.removeprefix("/jobs/"))
        try:
            results = job.wait(timeout=5)
        except TimeoutError:
            self.answer(HTTPStatus.OK, {"status": "not yet"})
        else:
            self.answer(HTTPStatus.OK, {"status": "finished", "order": results["complete"]})

    def answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body, default=str).encode())

    def log_message(self, *arguments: Any) -> None:
        """Keep the output short."""


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(url, data, timeout=30) as answer:
        return dict(json.load(answer))


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    dataflow = Path(sys.executable).with_name("dataflow")
    worker = subprocess.Popen(
        [dataflow, "worker", "web_app:db", "--queues", "orders"],
        cwd=HERE,
        env={**os.environ, "DATABASE_URL": db.settings.database_url, "REDIS_URL": asyncio.run(db.broker.url())},
    )
    try:
        job = call(f"{address}/orders", {"customer": "Ada", "total": 120.0})
        print("enqueued", job)
        print(call(f"{address}/jobs/{job['job']}"))
    finally:
        worker.terminate()
        worker.wait(30)
        server.shutdown()
        server.server_close()
        db.close()


if __name__ == "__main__":
    main()

"""``dataflow jobs show``: all that is known of one job."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.markup import escape

from dataflow.cli import text
from dataflow.cli.target import Target
from dataflow.errors import PayloadError, WorkflowError
from dataflow.jobs import keys
from dataflow.jobs.listing import summaries
from dataflow.jobs.record import read_record
from dataflow.jobs.waiting import read_links, why_waiting
from dataflow.jobs.wire import read_payload


async def describe(place: Target, job_id: str, *, values: bool) -> dict[str, Any]:
    """A job as plain data.

    Raises:
        JobNotFoundError: There is none (any more).
        BrokerUnavailableError: The broker cannot be reached.
    """
    record = await read_record(place.broker, job_id)
    parents, dependents = await read_links(place.broker, job_id)
    found = await summaries(place.broker, [job_id])
    try:
        nodes = (await place.job(job_id).progress_async())["nodes"]
        inputs = await _inputs(place, job_id)
    except (PayloadError, WorkflowError) as error:  # a job of another program, or damaged: the rest is worth showing
        nodes, inputs = {}, str(error)
    ran = record.ended_at - record.started_at if record.ended_at and record.started_at else None
    return {
        "id": job_id,
        "runs": found[0].description if found else "",
        "queue": record.queue,
        "status": record.status.value,
        "waits": await why_waiting(place.broker, job_id, record, parents),
        "worker": record.worker_name,
        "created_at": record.created_at,
        "enqueued_at": record.enqueued_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "seconds": ran.total_seconds() if ran else None,
        "retries_left": record.retries_left,
        "deliveries": record.deliveries,
        "waits_for": parents,
        "dependents": dependents,
        "error": record.failure,
        "nodes": nodes,
        "meta": record.meta if values else text.shape(record.meta),
        "inputs": inputs if values else text.shape(inputs),
        "results": record.results if values else text.shape(record.results or {}),
    }


async def _inputs(place: Target, job_id: str) -> Any:
    client: Any = await place.broker.client()
    async with place.broker.errors():
        data = await client.hget(keys.job(job_id), "data")
    return read_payload(data).inputs if data else {}


def print_description(told: dict[str, Any]) -> None:
    """Print what ``describe`` tells."""
    console = text.console()
    console.print(f"[bold]{told['id']}[/]  {text.status(told['status'])}  {escape(told['runs'])}")
    if told["waits"]:
        console.print(f"  [yellow]{escape(told['waits'])}[/]")
    lines = {
        "queue": told["queue"],
        "worker": told["worker"],
        "created": text.when(told["created_at"]),
        "queued": text.when(told["enqueued_at"]),
        "started": text.when(told["started_at"]),
        "ended": text.when(told["ended_at"]),
        "ran": text.duration(told["seconds"]),
        "retries left": told["retries_left"],
        "died with it": f"{told['deliveries']} worker(s)" if told["deliveries"] else None,
        "waits for": ", ".join(told["waits_for"]),
        "wait for it": ", ".join(told["dependents"]),
    }
    for name, value in lines.items():
        if value not in (None, "", "-", 0):
            console.print(f"  {name:<13}{escape(str(value))}")
    for name in ("meta", "inputs", "results"):
        if told[name]:
            content = msgspec.json.encode(told[name], enc_hook=str).decode()
            console.print(f"  {name:<13}{escape(content)}", soft_wrap=True)
    if told["nodes"]:
        rows = [
            (escape(node), text.status(one["state"]), text.duration(_seconds(one)), escape(_told(one)))
            for node, one in told["nodes"].items()
        ]
        columns = ("node", "state", "took", "told")
        shown = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
        console.print(text.table("", columns[:shown], [row[:shown] for row in rows]))
    if told["error"] is not None:
        console.print(f"[red]{escape(told['error'].message)}[/]", soft_wrap=True)
        if told["error"].traceback:
            console.print(escape(told["error"].traceback), soft_wrap=True)


def _seconds(node: Any) -> float | None:
    if node["started_at"] is None or node["ended_at"] is None:
        return None
    return float((node["ended_at"] - node["started_at"]).total_seconds())


def _told(node: Any) -> str:
    return text.progress(node.get("done"), node.get("total"), node.get("note", ""))

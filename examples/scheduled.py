"""Work that starts because it is time.

``measure`` runs each second here; ``tidy`` would run each night, and is told to run now. What the code declares gets
into Redis when a scheduler starts; it can be paused, changed and looked at while it runs, by ``db.schedules`` or
``dataflow schedules``.

Run it: python examples/scheduled.py
It starts a worker that schedules, too (on REDIS_URL, else on an embedded broker), waits for three ticks, changes the
schedule, prints what came of it all, and stops the worker.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from dataflow import AsyncLocalRuntime, DataFlow, LocalRuntime, WorkflowBuilder, current_job
from dataflow.schedules import ScheduleInfo

db = DataFlow()


@db.model
class Reading:
    sensor: str
    due: datetime


@db.schedule(every=1, inputs={"sensor": "roof"})
@db.actor
async def measure(sensor: str) -> None:
    """Keep a row that says which tick it is of."""
    job = current_job()
    assert job is not None
    workflow = WorkflowBuilder()
    workflow.add_node("ReadingCreateNode", "keep", {"sensor": sensor, "due": job.due})
    await AsyncLocalRuntime().execute_workflow_async(workflow.build())


@db.schedule(cron="0 2 * * *", timezone="Europe/Berlin", name="nightly")
@db.workflow
def tidy() -> WorkflowBuilder:
    workflow = WorkflowBuilder("tidy")
    workflow.add_node("ReadingBulkDeleteNode", "delete", {"filter": {"sensor": "roof"}})
    return workflow


def wait_for(name: str, condition: Callable[[ScheduleInfo], bool]) -> ScheduleInfo:
    """Look at a schedule until this holds."""
    deadline = time.monotonic() + 60
    while True:
        found = {info.name: info for info in db.schedules.list()}  # empty until the scheduler has started
        if name in found and condition(found[name]):
            return found[name]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: {found.get(name)}")
        time.sleep(0.1)


def dues() -> list[datetime]:
    workflow = WorkflowBuilder()
    workflow.add_node("ReadingListNode", "readings", {"sort": ["due"]})
    results, _ = LocalRuntime().execute(workflow.build())
    return [row["due"] for row in results["readings"]["records"]]


def main() -> None:
    dataflow = Path(sys.executable).with_name("dataflow")
    importable = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    worker = subprocess.Popen(
        [dataflow, "worker", "scheduled:db", "--with-scheduler"],
        env={**os.environ, "PYTHONPATH": importable, "REDIS_URL": asyncio.run(db.broker.url())},
    )
    try:
        wait_for("measure", lambda info: info.finished >= 3)
        db.schedules.pause("measure", "three are enough")
        info = wait_for("measure", lambda info: info.finished == info.queued)
        print("a scheduler leads:", db.schedules.leader() is not None)
        ticks = dues()
        print("one row per job:", len(ticks) == info.finished)
        second = timedelta(seconds=1)
        print("a second apart:", all(after - before == second for before, after in itertools.pairwise(ticks)))
        print("measure:", info.state, "-", info.reason, "-", info.when)

        results = db.schedules.run_now("nightly").wait(timeout=60)
        print("nightly deleted all:", results["delete"]["deleted"] == len(ticks), "- rows left:", len(dues()))
        print("nightly:", [tick.what for tick in db.schedules.history("nightly")])

        print("measure:", db.schedules.update("measure", every=3600).when)
    finally:
        worker.terminate()
        worker.wait(30)
    db.close()


if __name__ == "__main__":
    main()

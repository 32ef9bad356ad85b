"""honcho runs the Procfile's worker and scheduler; they run a job and a schedule's, and stop in good order."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from dataflow import DataFlow, WorkflowBuilder
from tests.acceptance.programs import BIN, ROOT, environment

APP = """
from dataflow import DataFlow

db = DataFlow()

@db.model
class Note:
    text: str

@db.schedule(every=1, queue="procfile")
@db.actor
def tick() -> str:
    return "done"
"""


async def test_honcho_runs_the_worker_and_the_scheduler(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "notes.py").write_text(APP)
    database = f"sqlite:///{tmp_path}/notes.db"
    log = tmp_path / "honcho.log"
    with log.open("wb") as output:
        honcho = subprocess.Popen(
            [BIN / "honcho", "-f", ROOT / "Procfile", "-d", tmp_path, "start"],
            env=environment(APP="notes:db", QUEUES="procfile", DATABASE_URL=database, REDIS_URL=redis_url),
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        async with DataFlow(database, redis_url=redis_url) as db:

            @db.model
            class Note:
                text: str

            workflow = WorkflowBuilder("keep a note")
            workflow.add_node("NoteCreateNode", "create", {"text": "from the Procfile"})
            job = await db.queue("procfile").enqueue_async(workflow.build())
            results = await job.wait_async(30)
            async with asyncio.timeout(30):
                while not any(info.finished for info in await db.schedules.list_async()):
                    await asyncio.sleep(0.05)
        assert results["create"]["text"] == "from the Procfile"
        honcho.send_signal(signal.SIGTERM)
        honcho.wait(30)
    except BaseException:
        honcho.kill()
        honcho.wait()
        pytest.fail(log.read_text())
    text = log.read_text()
    assert "worker.1" in text
    assert "scheduler.1" in text
    assert "Traceback" not in text
    assert "SIGKILL" not in text

"""Every example runs as it is, and says what it should."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.acceptance.programs import ROOT, run

#: What each program prints, as patterns in their order.
EXAMPLES = {
    "quickstart": [r"'id': 1, 'name': 'Alice', 'email': 'alice@example.com', 'active': True, 'created_at'"],
    "quickstart_stable": [r"'id': 'session-[0-9a-f-]{36}', 'user_id': 'user-001', 'state': 'active'", r"^closed$"],
    "multi_database": [r"^shop: 1, archive: 2$"],
    "custom_node": [r"^1 of 5 readings were outliers$"],
    "bulk_import": [
        r"^January: 10000 products$",
        r"^February: 1000 new, 1000 changed$",
        r"^tools: 6500 products worth 60250.00$",
        r"^toys: 4500 products worth 42750.00$",
    ],
    "ordered_actors": [
        r"^balances: \[10, 10, 20, 20, 30, 30, 40, 40, 50, 50\]$",
        r"^Ada: 10 20 30 40 50$",
    ],
    "scheduled": [
        r"^a scheduler leads: True$",
        r"^one row per job: True$",
        r"^a second apart: True$",
        r"^measure: paused - three are enough - every 1 s$",
        r"^nightly deleted all: True - rows left: 0$",
        r"^nightly: \['by hand'\]$",
        r"^measure: every 1 h$",
    ],
    "order_events": [
        r"^completed by (sqlite3|Python's sqlite3)$",
        r"^shipments: \[\(True, 'Ada'\)\]$",
        r"^fulfilment: update of Order, now {'status': 'completed'}; fired 1; not for order 2$",
    ],
    "enqueue_from_web_app": [r"^enqueued {'job': '.+'}$", r"'status': 'finished'.*'status': 'completed'"],
}

#: Modules that an example imports.
PARTS = {"web_app", "__init__"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path, redis_url: str) -> None:
    output = run([sys.executable, ROOT / "examples" / f"{name}.py"], tmp_path, REDIS_URL=redis_url)
    position = 0
    for pattern in EXAMPLES[name]:
        found = re.compile(pattern, re.MULTILINE).search(output, position)
        assert found, f"{pattern} is not in:\n{output}"
        position = found.end()


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_an_order_that_psql_completes_is_shipped(tmp_path: Path, postgresql_db_url: str, redis_url: str) -> None:
    program = [sys.executable, ROOT / "examples" / "order_events.py"]
    output = run(program, tmp_path, REDIS_URL=redis_url, DATABASE_URL=postgresql_db_url)
    assert "completed by psql\nshipments: [(True, 'Ada')]\n" in output


def test_no_example_is_forgotten() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES) | PARTS

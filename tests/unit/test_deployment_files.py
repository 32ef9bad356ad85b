"""The deployment files say what they must; no container engine runs here, so they are read, not started."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_compose_has_the_servers_a_worker_and_a_scheduler(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "mysql", "redis", "worker", "scheduler", "capture"}
    # Who has no triggers and no readers of events starts none.
    assert [name for name, service in services.items() if "profiles" in service] == ["capture"]
    images = {name: service["image"].split(":")[0] for name, service in services.items() if "image" in service}
    assert images == {"postgres": "postgres", "mysql": "mysql", "redis": "redis"}
    assert all(":" in service["image"] for service in services.values() if "image" in service)


def test_servers_have_healthchecks_and_named_volumes(compose: dict[str, Any]) -> None:
    for name in ("postgres", "mysql", "redis"):
        service = compose["services"][name]
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        (volume,) = service["volumes"]
        assert volume.split(":")[0] in compose["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_worker_waits_for_what_it_uses(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert worker["depends_on"] == {name: {"condition": "service_healthy"} for name in ("postgres", "mysql", "redis")}
    environment = worker["environment"]
    assert environment["REDIS_URL"] == "redis://redis:6379"
    user, password, database = re.search(
        r"postgresql://(\w+):(\w+)@postgres:5432/(\w+)}", environment["DATABASE_URL"]
    ).groups()
    postgres = compose["services"]["postgres"]["environment"]
    assert (user, password, database) == tuple(postgres[f"POSTGRES_{key}"] for key in ("USER", "PASSWORD", "DB"))
    assert worker["command"][0] == "worker"
    grace = int(worker["command"][worker["command"].index("--grace") + 1])
    assert int(worker["stop_grace_period"].removesuffix("s")) > grace


def test_the_scheduler_has_the_worker_s_app_and_settings(compose: dict[str, Any]) -> None:
    """It would sync and start what another app declares, or sign with other keys."""
    worker, scheduler = (compose["services"][name] for name in ("worker", "scheduler"))
    assert scheduler["command"] == ["scheduler", worker["command"][1]]
    assert scheduler["build"] == worker["build"]
    assert scheduler["environment"] == worker["environment"]
    assert scheduler["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert scheduler["restart"] == worker["restart"]


def test_capture_has_the_worker_s_app_and_database(compose: dict[str, Any]) -> None:
    """It would publish another app's changes."""
    worker, capture = (compose["services"][name] for name in ("worker", "capture"))
    assert capture["command"] == ["capture", worker["command"][1]]
    for part in ("build", "environment", "depends_on", "restart"):
        assert capture[part] == worker[part]


def test_the_procfile_s_processes_have_one_app() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    commands = {name: command.split() for name, command in (line.split(": ", 1) for line in lines)}
    assert {name: command[:2] for name, command in commands.items()} == {
        "worker": ["dataflow", "worker"],
        "scheduler": ["dataflow", "scheduler"],
    }
    assert commands["worker"][2] == commands["scheduler"][2]


def test_the_image_has_every_package() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")}
    assert {package.rstrip("*") for package in packages} <= copied


def test_the_image_runs_a_worker_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert ["FROM", "python:3.11-slim"] in steps
    assert dict(steps)["USER"] == "dataflow"
    assert dict(steps)["ENTRYPOINT"] == '["dataflow"]'
    assert dict(steps)["CMD"].startswith('["worker"')


def test_the_image_copies_only_files_that_reach_it() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            *sources, _ = line.split()[1:]
            assert set(sources) <= allowed
            assert all((ROOT / source).exists() for source in sources)

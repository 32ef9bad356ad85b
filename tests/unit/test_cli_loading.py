"""How a command line names an application."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.cli.loading import load_apps
from dataflow.errors import ConfigurationError
from worker.options import WorkerOptions


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the working directory."""
    name = "shop_for_loading"
    (tmp_path / f"{name}.py").write_text(
        "from types import SimpleNamespace\n"
        "from dataflow.app import DataFlow\n"
        "db = DataFlow(':memory:', name='shop')\n"
        "both = [db, DataFlow(':memory:', name='other')]\n"
        "holder = SimpleNamespace(db=db)\n"
        "empty = []\n"
        "text = 'x'\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("import no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    for module in [key for key in sys.modules if key.startswith(name)]:
        del sys.modules[module]


def test_an_instance_a_list_and_a_path(shop: str) -> None:
    assert [app.name for app in load_apps(f"{shop}:db")] == ["shop"]
    assert [app.name for app in load_apps(f"{shop}:both")] == ["shop", "other"]
    assert [app.name for app in load_apps(f"{shop}:holder.db")] == ["shop"]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("{}", "module:attribute"),
        ("{}:", "module:attribute"),
        ("{}:dbb", "Did you mean 'db'"),
        ("{}:text", "type str"),
        ("{}:empty", "empty list"),
        ("{}_not_there:db", "no module"),
    ],
)
def test_what_is_wrong_is_said(shop: str, target: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_apps(target.format(shop))


def test_an_import_that_fails_inside_the_module_is_shown_as_it_is(shop: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        load_apps(f"{shop}_broken:db")


@pytest.mark.parametrize("wrong", [{"queues": ()}, {"queues": ("a", "")}, {"concurrency": 0}, {"lease": 0}])
def test_options_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        WorkerOptions(**wrong)  # type: ignore[arg-type]

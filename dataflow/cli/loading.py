"""Loading an application by the name that a command line gives it: ``package.module:attribute``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from dataflow.app import DataFlow
from dataflow.errors import ConfigurationError, did_you_mean


def load_apps(target: str) -> list[DataFlow]:
    """The DataFlow instance, or instances, that ``target`` names. The working directory is importable.

    Args:
        target: ``"app:db"``, ``"shop.models:databases.primary"``; the attribute is an instance or a list of them.

    Raises:
        ConfigurationError: There is no such module or attribute, or it is something else.
    """
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise ConfigurationError(
            f"{target!r} does not name an application.", hint="Write module:attribute, such as app:db."
        )
    found: Any = _import(module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = [name for name in vars(found) if not name.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigurationError(
                f"{module_name} has no attribute {path!r}.", hint=did_you_mean(part, names)
            ) from None
    apps = list(found) if isinstance(found, list | tuple) else [found]
    for app in apps:
        if not isinstance(app, DataFlow):
            raise ConfigurationError(
                f"{target} is of type {type(app).__name__}.",
                hint="It must name a DataFlow instance, or a list of them.",
            )
    if not apps:
        raise ConfigurationError(f"{target} is an empty list.", hint="It must hold at least one DataFlow instance.")
    return apps


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module is there, and imports something that is not
        raise ConfigurationError(
            f"There is no module {name!r} in {here} or among the installed packages.",
            hint="Start the command where the module is.",
        ) from None

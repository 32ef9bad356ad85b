"""Running functions of users: async ones on the event loop, others in a thread, so that they cannot stall it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from dataflow.errors import InputError
from dataflow.nodes.threads import code_threads


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns; awaited if it is async, else run in a thread with the caller's context variables.

    A run that is cancelled no longer waits for its thread, which ends when the function returns: Python cannot stop
    a thread.

    Raises:
        InputError: The function tried to end the process (``sys.exit``).
        Exception: What the function raised.
    """
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        result = await _in_thread(function, args, kwargs)
        return await result if inspect.isawaitable(result) else result
    except SystemExit as error:
        raise _ended(error) from error


async def _in_thread(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    threads = code_threads.get()
    if threads is None:
        return await asyncio.to_thread(_guarded, function, args, kwargs)
    context = copy_context()
    name = getattr(function, "__qualname__", type(function).__name__)
    return await threads.run(lambda: context.run(_guarded, function, args, kwargs), name)


def _guarded(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # A future cannot carry StopIteration, and the others would end the loop's thread instead of the node.
    try:
        return function(*args, **kwargs)
    except (SystemExit, KeyboardInterrupt, StopIteration) as error:
        raise _ended(error) from error


def _ended(error: BaseException) -> InputError:
    return InputError(
        f"The code of a node ended with {type(error).__name__}.", hint="Return a result, or raise another exception."
    )

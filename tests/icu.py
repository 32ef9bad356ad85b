"""ICU's regular expressions, which MySQL 8 uses, from the machine's own library."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import Any


@cache
def library() -> tuple[Any, str] | None:
    """ICU's library and the version that ends its functions' names; None where there is none."""
    name = ctypes.util.find_library("icui18n")
    version = (name or "").rpartition(".so.")[2].partition(".")[0]
    return (ctypes.CDLL(name), version) if name and version else None


class Pattern:
    """A compiled pattern.

    Raises:
        ValueError: ICU does not take it.
    """

    def __init__(self, pattern: str) -> None:
        found = library()
        assert found is not None
        self._icu, self._version = found
        encoded = pattern.encode("utf-16-le")
        self._status = ctypes.c_int(0)
        buffer = ctypes.create_string_buffer(encoded, len(encoded) + 2)
        opened = self._function("open", ctypes.c_void_p)
        self._regex = ctypes.c_void_p(opened(buffer, len(encoded) // 2, 0, None, ctypes.byref(self._status)))
        self._check()

    def search(self, text: str) -> bool:
        """Whether it matches anywhere.

        Raises:
            ValueError: ICU gave up.
        """
        encoded = text.encode("utf-16-le")
        buffer = ctypes.create_string_buffer(encoded, len(encoded) + 2)
        self._function("setText")(self._regex, buffer, len(encoded) // 2, ctypes.byref(self._status))
        found = self._function("find", ctypes.c_int8)(self._regex, 0, ctypes.byref(self._status))
        self._check()
        return bool(found)

    def __del__(self) -> None:
        self._function("close")(self._regex)

    def _function(self, name: str, result: Any = None) -> Any:
        function = getattr(self._icu, f"uregex_{name}_{self._version}")
        function.restype = result
        return function

    def _check(self) -> None:
        if self._status.value > 0:
            status, self._status.value = self._status.value, 0
            raise ValueError(f"ICU: error {status}")

"""From the exceptions of MySQL's drivers to ours. Both drivers' carry the server's code and words as ``args``."""

from __future__ import annotations

import re
from collections.abc import Callable

from dataflow.databases import failures

#: Deadlock, lock wait timeout, MariaDB's "record has changed since last read", "table definition has changed", and
#: "statement needs to be re-prepared".
_TRANSIENT = {1205, 1213, 1020, 1412, 1615}
#: Of these the whole transaction was rolled back by the server, not only the statement.
ROLLED_BACK = {1213, 1020}
#: Cannot connect, gone away, lost, too many connections, shutdown, killed, access denied, unknown database.
_UNAVAILABLE = {2002, 2003, 2005, 2006, 2013, 2055, 1040, 1053, 1927, 1045, 1049, 1129, 1130, 1203, 1226, 3169}
#: Too long, out of range, of the wrong type, truncated, not JSON.
_MISMATCH = {1406, 1264, 1265, 1292, 1366, 1367, 1411, 1690, 3140, 3141, 4038}
#: KILL of a session that has ended.
NO_SUCH_THREAD = 1094
#: TLS was asked for and cannot be had (CR_SSL_CONNECTION_ERROR).
NO_TLS = 2026

#: MariaDB's code for a regular expression that it cannot compile or that went past its limits while it searched.
PATTERN_FAILED = 1139

_KEY = re.compile(r"for key '(?:(?P<table>[^'.]+)\.)?(?P<key>[^']+)'")
_FOREIGN_KEY = re.compile(
    r"\(`[^`]+`\.`(?P<table>[^`]+)`, CONSTRAINT `(?P<name>[^`]+)` FOREIGN KEY \((?P<fields>[^)]+)\) "
    r"REFERENCES (?:`[^`]+`\.)?`(?P<referenced>[^`]+)`"
)
_QUOTED = re.compile(r"['`]([^'`]+)['`]")


def translate(error: Exception, masked_url: str, driver_error: type[Exception]) -> Exception:
    """Our error for one that a statement raised; any other exception than the driver's comes back as it is."""
    if isinstance(error, driver_error):
        code, reason = code_of(error), _reason(error)
        if code in _TRANSIENT:
            return failures.transient(reason)
        if code in _UNAVAILABLE:
            return failures.lost(masked_url, reason)
        if code in _MISMATCH:
            return failures.mismatch(reason)
        make = _BY_CODE.get(code)
        if make is not None:
            return make(reason)
        if code == 0:  # the drivers' own "not connected", "cancelled during execution"
            return failures.lost(masked_url, reason)
        return failures.other(reason)
    if isinstance(error, OSError):
        return failures.lost(masked_url, str(error) or type(error).__name__)
    return error


def unreachable_reason(error: Exception, driver_error: type[Exception]) -> str | None:
    """Why connecting failed; None if this is no failure to connect."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, OSError):
        return str(cause)
    if isinstance(error, driver_error):
        return _reason(error)
    if isinstance(error, RuntimeError) and "cryptography" in str(error):
        return "the server wants an encrypted password: install 'cryptography', or connect with ssl=true"
    return None


def is_rolled_back(error: Exception) -> bool:
    """Whether the server ended the whole transaction."""
    return code_of(error) in ROLLED_BACK


def code_of(error: Exception) -> int:
    """The server's code; 0 where the driver speaks for itself."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _reason(error: Exception) -> str:
    return str(error.args[-1]) if error.args else type(error).__name__


def _unique(reason: str) -> Exception:
    found = _KEY.search(reason)
    if found is None:
        return failures.unique(None, [], None)
    # The server names the key, not its columns.
    return failures.unique(found["table"], [], found["key"])


def _foreign_key(reason: str) -> Exception:
    found = _FOREIGN_KEY.search(reason)
    if found is None:
        return failures.foreign_key(None, [], None)
    fields = [name.strip(" `") for name in found["fields"].split(",")]
    missing = found["referenced"] if "child row" in reason else None
    return failures.foreign_key(found["table"], fields, found["name"], referenced=missing)


def _not_null(reason: str) -> Exception:
    found = _QUOTED.search(reason)
    return failures.not_null(None, found[1] if found else None)


def _check(reason: str) -> Exception:
    found = _QUOTED.search(reason)
    return failures.check(None, found[1] if found else None)


def _missing_table(reason: str) -> Exception:
    found = _QUOTED.search(reason)
    return failures.missing_table(found[1].rpartition(".")[2] if found else reason)


def _costly_pattern(reason: str) -> Exception:
    return failures.costly_pattern("MySQL or MariaDB", reason)


_BY_CODE: dict[int, Callable[[str], Exception]] = {
    PATTERN_FAILED: _costly_pattern,
    # MySQL's own: stack, time, size.
    3698: _costly_pattern,
    3699: _costly_pattern,
    3700: _costly_pattern,
    1062: _unique,
    1586: _unique,
    1216: _foreign_key,
    1217: _foreign_key,
    1451: _foreign_key,
    1452: _foreign_key,
    1048: _not_null,
    1364: _not_null,
    3819: _check,
    4025: _check,
    1146: _missing_table,
    1054: failures.missing_column,
}

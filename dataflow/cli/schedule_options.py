"""What ``dataflow schedules add`` and ``update`` take, and how its text becomes arguments of a schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from dataflow.errors import ScheduleError, did_you_mean
from dataflow.schedules.options import OPTIONS

Cron = Annotated[str | None, typer.Option(help='A cron expression: "0 2 * * *", "@daily". Or give --every, or --at.')]
Every = Annotated[str | None, typer.Option(help="An interval: 300 (seconds), 90s, 5m, 2h or 1d.")]
At = Annotated[
    list[str] | None, typer.Option(help="Once, at this ISO date-time: 2026-12-24T18:00. May be given several times.")
]
Timezone = Annotated[
    str | None,
    typer.Option("--timezone", "--tz", help="IANA zone of --cron, and of date-times that name none. By default UTC."),
]
Jitter = Annotated[str | None, typer.Option(help="Each tick starts up to that much later: 30, 5m.")]
Start = Annotated[str | None, typer.Option(help="No tick before this ISO date-time; --every counts from it.")]
End = Annotated[str | None, typer.Option(help="No tick after this ISO date-time.")]
Misfire = Annotated[
    str | None, typer.Option(help="Ticks that no scheduler ran in time: run_once (the default), skip or run_all.")
]
Grace = Annotated[str | None, typer.Option(help="How late a tick may be until it counts as missed. By default 60.")]
Overlap = Annotated[
    str | None,
    typer.Option(help="A tick whose predecessor runs: skip (the default), queue, cancel_previous or allow."),
]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="Queue of the jobs.")]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="An input as key=value, where the value is JSON, else text: days=7, name=Ada. May be given several times.",
    ),
]
Inputs = Annotated[str | None, typer.Option(help="All inputs as a JSON object.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds that a job may run; -1 for no limit.")]
Retry = Annotated[int | None, typer.Option(help="Times that a failed job is tried again.")]
TenantId = Annotated[str | None, typer.Option(help="Tenant whose rows the jobs see.")]
AtFront = Annotated[
    bool | None, typer.Option("--at-front/--not-at-front", help="Jobs go before those that wait.", show_default=False)
]
ResultTtl = Annotated[int | None, typer.Option(help="Seconds that results are kept; -1 for ever.")]
FailureTtl = Annotated[int | None, typer.Option(help="Seconds that failed jobs are kept; -1 for ever.")]
Meta = Annotated[list[str] | None, typer.Option(help="Meta of the jobs, as key=value.")]
ExactlyOnce = Annotated[
    bool | None,
    typer.Option("--exactly-once/--not-exactly-once", help="Effects happen once (the default).", show_default=False),
]

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Besides options of the jobs, what `update --unset` takes back.
_OPTIONAL = ("start", "end")


def arguments_of(*, inputs: str | None, **given: Any) -> dict[str, Any]:
    """Arguments of a schedule from those of the command; what was not given is left out.

    Raises:
        ScheduleError: One is no date-time, length of time, key=value or JSON, as it should be.
    """
    given = {name: value for name, value in given.items() if value is not None and value != []}
    for name in ("every", "jitter", "grace"):
        if name in given:
            given[name] = seconds_of(name, given[name])
    for name in ("start", "end"):
        if name in given:
            given[name] = moment_of(name, given[name])
    if "at" in given:
        given["at"] = [moment_of("at", text) for text in given["at"]]
    single = pairs_of("input", given.pop("input", ()))
    if inputs is not None or single:
        given["inputs"] = {**_object_of("inputs", inputs or "{}"), **single}
    if "meta" in given:
        given["meta"] = pairs_of("meta", given["meta"])
    return given


def taken_back(names: Sequence[str] | None) -> dict[str, None]:
    """Arguments that return to their defaults.

    Raises:
        ScheduleError: One has no default to return to.
    """
    known = (*OPTIONS, *_OPTIONAL)
    taken = [name.replace("-", "_") for name in names or ()]
    for name in taken:
        if name not in known:
            raise ScheduleError(f"--unset takes no {name!r}.", hint=did_you_mean(name, known), part=name)
    return dict.fromkeys(taken)


def moment_of(part: str, text: str) -> datetime:
    """An ISO date-time; one without a zone is meant in the schedule's.

    Raises:
        ScheduleError: It is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ScheduleError(
            f"--{part} {text!r} is no ISO date-time.",
            hint="2026-12-24T18:00 in the schedule's --timezone, or with a zone: 2026-12-24T18:00+01:00.",
            part=part,
            value=text,
        ) from None


def seconds_of(part: str, text: str) -> float:
    """A length of time: seconds, or a number with s, m, h or d.

    Raises:
        ScheduleError: It is none.
    """
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise ScheduleError(
            f"--{part} {text!r} is no length of time.", hint="300 (seconds), 90s, 5m, 2h or 1d.", part=part, value=text
        )
    return float(found[1]) * _UNITS[found[2]]


def pairs_of(part: str, texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as a dict; a value that is JSON is what that means, any other is text.

    Raises:
        ScheduleError: One has no ``=``, or a key comes twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ScheduleError(f"--{part} {text!r} is not key=value.", hint=f"--{part} days=7", part=part, value=text)
        if key in found:
            raise ScheduleError(f"--{part} {key} is given twice.", part=part, value=text)
        try:
            found[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[key] = value
    return found


def _object_of(part: str, text: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ScheduleError(f"--{part} is no JSON: {error}.", hint='{"days": 7}', part=part, value=text) from None
    if not isinstance(found, dict):
        raise ScheduleError(f"--{part} is no JSON object: {text}.", hint='{"days": 7}', part=part, value=text)
    return found

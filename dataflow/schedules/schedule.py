"""Schedule: what somebody declared to run by time. Checked when it is made, and immutable."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from dataflow.errors import ScheduleError, did_you_mean
from dataflow.schedules.arguments import moment_in_utc, moments_in_utc, refused, seconds_of
from dataflow.schedules.cron import parse_cron
from dataflow.schedules.options import OPTIONS, checked_options
from dataflow.schedules.plain import from_plain, to_plain
from dataflow.schedules.timing import CronTiming, IntervalTiming, MomentsTiming, Ticks, Timing
from dataflow.schedules.zones import zone_of

Misfire = Literal["skip", "run_once", "run_all"]
Overlap = Literal["skip", "queue", "cancel_previous", "allow"]

#: Seconds: the longest jitter.
MAX_JITTER = 86_400.0
#: Seconds: the longest interval, some ten years.
MAX_INTERVAL = 3650 * 86_400.0

#: Seconds that a tick may be late, where a schedule does not say.
GRACE = 60.0

#: Version of the document that is written, and the only one read.
VERSION = 1

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_KINDS = ("cron", "every", "at")
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When which workflow runs, and with what. Exactly one of ``cron``, ``every`` and ``at`` says when.

    Attributes:
        name: Letters, digits, ``_`` and ``-``, 1 to 100; unique within an instance.
        workflow: Name of a registered workflow or actor.
        cron: A cron expression of 5 fields, or 6 with the second first, or ``@daily`` and the like.
        every: An interval: seconds from 1, with up to three decimals, or a timedelta. Kept as seconds.
        at: A moment or several, each a tick. Kept as a sorted tuple, in UTC, rounded up to milliseconds.
        timezone: IANA name of the zone that ``cron`` and naive datetimes are meant in.
        jitter: Seconds: each tick starts up to that much later than it is due, always the same for the same tick.
        start: No tick is due before. Intervals are counted from it.
        end: No tick is due after.
        misfire: What to do with ticks that are later than ``grace``: nothing (``"skip"``), run the last of them
            (``"run_once"``), or run each (``"run_all"``).
        grace: Seconds, from 1, that a tick may be late and still run as usual. Longer than a scheduler needs to take
            over from another.
        overlap: What to do with a tick whose predecessor has not ended: nothing (``"skip"``), run it afterwards
            (``"queue"``), cancel the predecessor (``"cancel_previous"``), or run both (``"allow"``).
        options: Options of the jobs, see ``options.py``: as for ``queue.enqueue``, and the ``queue``.

    Raises:
        ScheduleError: A part of it is wrong, or parts contradict each other; ``context["part"]`` names it.

    Example:
        >>> report = Schedule(name="nightly", workflow="report", cron="0 2 * * *", timezone="Europe/Berlin")
        >>> report.due_after(datetime(2026, 3, 28, 12, tzinfo=UTC), anchor=datetime(2026, 1, 1, tzinfo=UTC))
        datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)
    """

    name: str
    workflow: str
    cron: str | None = None
    every: float | timedelta | None = None
    at: datetime | Sequence[datetime] | None = None
    timezone: str = "UTC"
    jitter: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    misfire: Misfire = "run_once"
    grace: float = GRACE
    overlap: Overlap = "skip"
    options: Mapping[str, Any] = field(default_factory=dict)
    #: None for intervals without a start: those are counted from when the schedule was added.
    _timing: Timing | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        self._check_names()
        self._settle("jitter", seconds_of("jitter", self.jitter, low=0.0, high=MAX_JITTER))
        self._settle("grace", seconds_of("grace", self.grace, low=1.0))
        self._check_policies()
        if not isinstance(self.options, Mapping):
            raise refused("options", self.options, "maps names to values")
        self._settle("options", checked_options(self.workflow, self.options))
        self._settle_times()

    # -- when ----------------------------------------------------------------------------------------------------------

    def timing(self, anchor: datetime) -> Timing:
        """When ticks are due, ``start`` and ``end`` left out.

        Args:
            anchor: When the schedule was first added: intervals without a start are counted from it.
        """
        return self._timing or IntervalTiming(self._interval, anchor)

    def due_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; None where none comes any more.

        Args:
            moment: Aware.
            anchor: As for ``timing``.
        """
        if self.start is not None and moment < self.start:
            moment = self.start - _MICROSECOND
        due = self.timing(anchor).after(moment)
        return None if due is None or (self.end is not None and due > self.end) else due

    def ticks_between(self, after: datetime, until: datetime, anchor: datetime) -> Ticks:
        """How many ticks there are after a moment and not after another, and the last; quick also for millions.

        Args:
            after: Aware.
            until: Aware.
            anchor: As for ``timing``.
        """
        if self.start is not None:
            after = max(after, self.start - _MICROSECOND)
        if self.end is not None:
            until = min(until, self.end)
        return self.timing(anchor).between(after, until) if after < until else Ticks()

    def fires_at(self, due: datetime, owner: str) -> datetime:
        """When the tick that is due then is to start: ``due`` and its part of the jitter, in whole milliseconds.

        Args:
            due: The tick.
            owner: The instance whose schedule it is.
        """
        if not self.jitter:
            return due
        seed = f"{owner}\0{self.name}\0{due.astimezone(UTC).isoformat()}".encode()
        share = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest()) / 2**64
        return due + int(share * self.jitter * 1000) * _MILLISECOND

    @property
    def _moments(self) -> tuple[datetime, ...]:
        assert isinstance(self.at, tuple)
        return self.at

    @property
    def _interval(self) -> timedelta:
        assert isinstance(self.every, float)
        return timedelta(milliseconds=round(self.every * 1000))

    def describe(self) -> str:
        """When it runs, for people to read.

        >>> Schedule(name="n", workflow="w", cron="0 2 * * *", timezone="Europe/Berlin").describe()
        'cron 0 2 * * *, Europe/Berlin'
        """
        if self.cron is not None:
            when = f"cron {self.cron}, {self.timezone}"
        elif self.every is not None:
            when = f"every {_duration(self._interval)}"
        else:
            moments = self._moments
            when = f"at {_shown(moments[0])}" + (f" and {len(moments) - 1} more" if len(moments) > 1 else "")
        if self.jitter:
            when += f", up to {_duration(timedelta(seconds=self.jitter))} later"
        if self.start is not None:
            when += f", from {_shown(self.start)}"
        if self.end is not None:
            when += f", until {_shown(self.end)}"
        return when

    # -- as data -------------------------------------------------------------------------------------------------------

    @classmethod
    def declare(cls, name: str, workflow: str, **given: Any) -> Schedule:
        """A schedule from one set of arguments: its own, and options of its jobs.

        Raises:
            ScheduleError: An argument is unknown or wrong.
        """
        return cls(name=name, workflow=workflow, **_sorted_out(given, {}))

    def changed(self, **changes: Any) -> Schedule:
        """The schedule with other arguments, as those of ``declare``, and ``workflow``.

        One of cron, every and at replaces the others; None takes an option of the jobs back.

        Raises:
            ScheduleError: An argument is unknown or wrong.
        """
        if any(changes.get(kind) is not None for kind in _KINDS):
            changes = dict.fromkeys(_KINDS) | changes
        return replace(self, **_sorted_out(changes, dict(self.options)))

    def to_document(self) -> dict[str, Any]:
        """The schedule in types that JSON has; what has its default is left out."""
        document: dict[str, Any] = {"v": VERSION}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.init and item.name != "options" and value != item.default:
                document[item.name] = _written(value)
        if self.options:
            document["options"] = to_plain(self.options)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Schedule:
        """The schedule of a document.

        Raises:
            ScheduleError: It is damaged, of another version, or holds what is refused here.
        """
        given = dict(document)
        version = given.pop("v", None)
        if version != VERSION:
            raise ScheduleError(
                f"The schedule's document has version {version!r}, and this program reads version {VERSION}.",
                hint="It was written by another release: upgrade the older side.",
                part="v",
                value=version,
            )
        try:
            for name in ("start", "end"):
                if name in given:
                    given[name] = datetime.fromisoformat(given[name])
            if "at" in given:
                given["at"] = [datetime.fromisoformat(text) for text in given["at"]]
            if "options" in given:
                given["options"] = from_plain(given["options"])
            return cls(**given)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            if isinstance(error, ScheduleError):
                raise
            raise ScheduleError(f"The schedule's document is damaged: {error}.", part="document") from error

    @property
    def digest(self) -> str:
        """Tells whether two declarations are the same: 32 hexadecimal digits."""
        text = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    # -- checks --------------------------------------------------------------------------------------------------------

    def _settle(self, name: str, value: Any) -> None:
        """Keep an argument in the form that is promised."""
        object.__setattr__(self, name, value)

    def _check_names(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise refused("name", self.name, "is 1 to 100 letters, digits, '_' and '-'")
        if not isinstance(self.workflow, str) or not self.workflow:
            raise refused("workflow", self.workflow, "is the name of a registered workflow or actor")

    def _check_policies(self) -> None:
        for name, known in (("misfire", get_args(Misfire)), ("overlap", get_args(Overlap))):
            value = getattr(self, name)
            if value not in known:
                raise refused(name, value, f"is one of {', '.join(known)}")
        if self.misfire == "run_all" and self.overlap in ("skip", "cancel_previous"):
            raise ScheduleError(
                f"misfire='run_all' runs every missed tick, and overlap={self.overlap!r} would drop most of them.",
                hint="Let them run one after the other with overlap='queue', or together with overlap='allow'.",
                part="misfire",
                value=self.misfire,
            )

    def _settle_times(self) -> None:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none of them"
            raise ScheduleError(
                f"A schedule has one of cron, every and at, got {got}.",
                hint="cron='0 2 * * *', every=300 (seconds), or at=datetime(…).",
                part=given[-1] if given else "cron",
            )
        zone = zone_of(self.timezone)
        if self.start is not None:
            self._settle("start", moment_in_utc("start", self.start, zone))
        if self.end is not None:
            self._settle("end", moment_in_utc("end", self.end, zone, up=False))
        if self.cron is not None:
            if not isinstance(self.cron, str):
                raise refused("cron", self.cron, "is text")
            self._settle("_timing", CronTiming(parse_cron(self.cron), zone))
        elif self.every is not None:
            self._settle_interval()
        else:
            self._settle("at", moments_in_utc("at", self.at, zone))
            self._settle("_timing", MomentsTiming(self._moments))
        self._check_span()

    def _settle_interval(self) -> None:
        every = self.every.total_seconds() if isinstance(self.every, timedelta) else self.every
        seconds = seconds_of("every", every, low=1.0, high=MAX_INTERVAL)
        if not math.isclose(seconds * 1000, round(seconds * 1000), rel_tol=1e-12):
            raise refused("every", self.every, "has whole milliseconds")
        if self.jitter > seconds:
            raise refused("jitter", self.jitter, f"is no longer than the interval, {seconds:g} seconds")
        self._settle("every", seconds)
        if self.start is not None:
            self._settle("_timing", IntervalTiming(self._interval, self.start))

    def _check_span(self) -> None:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise refused("end", self.end, f"is not before start, {_shown(self.start)}")
        if self._timing is None:  # an interval of which only the time of its adding says when it ticks
            return
        first = self.start or _BEGINNING
        if self.end is not None and self.due_after(first - _MICROSECOND, first) is None:
            raise ScheduleError(
                f"The schedule never ticks before its end, {_shown(self.end)}.", part="end", value=self.end
            )
        if self.at is not None and self.due_after(first - _MICROSECOND, first) is None:
            raise ScheduleError(
                f"The schedule never ticks: all of at is before start, {_shown(first)}.", part="at", value=self.at
            )


def _sorted_out(given: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a schedule, those that are options of its jobs put together with ``options``."""
    own = {item.name for item in fields(Schedule) if item.init} - {"name", "options"}
    for name in given.keys() - own - {*OPTIONS}:
        raise ScheduleError(
            f"A schedule has no argument {name!r}.", hint=did_you_mean(str(name), own | {*OPTIONS}), part=name
        )
    mine = {name: value for name, value in given.items() if name in own}
    theirs = options | {name: value for name, value in given.items() if name in OPTIONS}
    return mine | {"options": {name: value for name, value in theirs.items() if value is not None}}


def _written(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return [_written(item) for item in value] if isinstance(value, tuple) else value


def _shown(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="auto").removesuffix("+00:00") + " UTC"


def _duration(length: timedelta) -> str:
    """A length of time with its largest whole unit: ``90 s``, ``5 min``, ``2 h``, ``1 d``."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if length >= timedelta(seconds=size) and not length % timedelta(seconds=size):
            return f"{length // timedelta(seconds=size)} {unit}"
    return f"{length.total_seconds():g} s"

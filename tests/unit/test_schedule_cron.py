"""Cron expressions: what they mean, against croniter and against looking at every minute; and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from dataflow.errors import ScheduleError
from dataflow.schedules.cron import MACROS, Cron, parse_cron
from dataflow.schedules.timing import CronTiming
from dataflow.schedules.zones import zone_of

ZONES = (
    "UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Santiago",
    "America/Havana", "Africa/Casablanca", "Africa/Cairo", "Asia/Kathmandu", "Asia/Beirut", "Asia/Tehran",
    "Australia/Lord_Howe", "Pacific/Chatham", "Antarctica/Troll",
)  # fmt: skip
MINUTE = timedelta(minutes=1)


def field(low: int, high: int, *, stars: bool = True) -> st.SearchStrategy[str]:
    """Texts of a field; without ``stars`` none begins with a star."""
    number = st.integers(low, high)
    # croniter takes 3-3 for a whole turn, and 0-6 for a star.
    span = st.tuples(number, number).filter(is_part).map(lambda ends: f"{ends[0]}-{ends[1]}")
    step = st.integers(1, max(2, (high - low) // 2))
    term = st.one_of(number.map(str), span, st.builds(lambda ends, by: f"{ends}/{by}", span, step))
    listed = st.lists(term, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), step.map(lambda by: f"*/{by}"), listed) if stars else listed


def is_part(ends: tuple[int, int]) -> bool:
    return ends[0] < ends[1] and ends not in ((0, 6), (1, 31))


def near_change(zone: str) -> st.SearchStrategy[datetime]:
    changes = changes_of(zone)
    around = st.sampled_from(changes) if changes else st.just(datetime(2021, 3, 28, 1, tzinfo=UTC))
    return st.builds(lambda moment, by: moment + by, around, st.timedeltas(timedelta(hours=-28), timedelta(hours=6)))


@cache
def changes_of(zone: str) -> list[datetime]:
    """When clocks were changed from 2015 on, until rules may still be altered; to the half hour before."""
    clock = ZoneInfo(zone)
    step = timedelta(minutes=30)
    days = [datetime(2015, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(11 * 365)]
    found = []
    for day, later in pairwise(days):
        while day.astimezone(clock).utcoffset() != later.astimezone(clock).utcoffset() and later - day > step:
            half = day + (later - day) // 2
            same = day.astimezone(clock).utcoffset() == half.astimezone(clock).utcoffset()
            day, later = (half, later) if same else (day, half)
            if later - day <= step:
                found.append(day)
    return found


moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


# -- against croniter --------------------------------------------------------------------------------------------------


@st.composite
def shared_expressions(draw: st.DrawFn) -> str:
    """Expressions of which croniter says the same: a step of stars beside another day field means something else."""
    day, weekday = draw(
        st.one_of(
            st.tuples(field(1, 31), st.just("*")),
            st.tuples(st.just("*"), field(0, 6)),
            st.tuples(field(1, 31, stars=False), field(0, 6, stars=False)),
        )
    )
    return f"{draw(field(0, 59))} {draw(field(0, 23))} {day} {draw(field(1, 12))} {weekday}"


@settings(max_examples=200, deadline=None)
@given(cron=shared_expressions(), zone=st.sampled_from(ZONES), moment=moments)
def test_ticks_are_croniters_where_clocks_do_not_change(cron: str, zone: str, moment: datetime) -> None:
    clock = ZoneInfo(zone)
    timing = CronTiming(parse_or_skip(cron), clock)
    theirs = croniter(cron, moment.astimezone(clock), max_years_between_matches=50)
    for _ in range(5):
        due = timing.after(moment)
        assert due is not None
        if not steady(moment, due, clock):
            break
        assert due == theirs.get_next(datetime).astimezone(UTC)
        moment = due


@settings(max_examples=100, deadline=None)
@given(
    days=st.one_of(
        st.just(("L *", "L *")),
        st.integers(0, 6).map(lambda day: (f"* {day}L", f"* L{day}")),
        st.tuples(st.integers(0, 6), st.integers(1, 5)).map(lambda nth: (f"* {nth[0]}#{nth[1]}",) * 2),
    ),
    month=field(1, 12),
    moment=moments,
)
def test_last_and_nth_days_are_croniters(days: tuple[str, str], month: str, moment: datetime) -> None:
    def written(day_fields: str) -> str:
        day, weekday = day_fields.split()
        return f"30 12 {day} {month} {weekday}"

    timing = CronTiming(parse_cron(written(days[0])), zone_of("UTC"))
    theirs = croniter(written(days[1]), moment, max_years_between_matches=50)
    for _ in range(5):
        due = timing.after(moment)
        assert due == theirs.get_next(datetime)
        assert due is not None
        moment = due


@settings(max_examples=100, deadline=None)
@given(second=field(0, 59), rest=shared_expressions(), moment=moments)
def test_the_second_stands_first(second: str, rest: str, moment: datetime) -> None:
    timing = CronTiming(parse_or_skip(f"{second} {rest}"), zone_of("UTC"))
    theirs = croniter(f"{second} {rest}", moment, second_at_beginning=True, max_years_between_matches=50)
    for _ in range(5):
        due = timing.after(moment)
        assert due == theirs.get_next(datetime)
        assert due is not None
        moment = due


def parse_or_skip(cron: str) -> Cron:
    try:
        return parse_cron(cron)
    except ScheduleError as error:
        if "never comes" not in str(error):
            raise
        reject()


def steady(moment: datetime, until: datetime, clock: ZoneInfo) -> bool:
    """Clocks are not changed from a day before until a day after."""
    begin, week = moment - timedelta(days=1), timedelta(days=7)
    weeks = min((until - moment) // week, 52)
    looks = [begin + number * week for number in range(weeks + 1)] + [until + timedelta(days=1)]
    return len({look.astimezone(clock).utcoffset() for look in looks}) == 1


# -- against looking at every minute -----------------------------------------------------------------------------------


def numbers(text: str, low: int, high: int) -> set[int]:
    """The values of a field that ``field`` made."""
    found: set[int] = set()
    for term in text.split(","):
        base, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if base == "*" else base).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


class Everyone:
    """Debian's rules, word by word: looks at each minute."""

    def __init__(self, cron: str, clock: ZoneInfo) -> None:
        minute, hour, day, month, weekday = self.fields = cron.split()
        self.clock = clock
        self.minutes, self.hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
        self.days, self.months, self.weekdays = numbers(day, 1, 31), numbers(month, 1, 12), numbers(weekday, 0, 6)
        self.both = day[0] == "*" or weekday[0] == "*"

    def matches(self, wall: datetime) -> bool:
        by_day, by_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        day = (by_day and by_weekday) if self.both else (by_day or by_weekday)
        return wall.minute in self.minutes and wall.hour in self.hours and wall.month in self.months and day

    def ticks(self, after: datetime, until: datetime) -> list[datetime]:
        if self.fields[0][0] == "*" or self.fields[1][0] == "*":
            moment = after.replace(second=0, microsecond=0) + MINUTE
            due = set()
            while moment <= until:
                if self.matches(moment.astimezone(self.clock)):
                    due.add(moment)
                moment += MINUTE
        else:
            wall = after.astimezone(self.clock).replace(tzinfo=None, fold=0, second=0, microsecond=0)
            last = until.astimezone(self.clock).replace(tzinfo=None, fold=0) + timedelta(hours=3)
            wall -= timedelta(hours=3)
            due = set()
            while wall <= last:
                if self.matches(wall):
                    due.add(self.first_shown(wall))
                wall += MINUTE
        return sorted(moment for moment in due if after < moment <= until)

    def first_shown(self, wall: datetime) -> datetime:
        while True:
            moment = wall.replace(tzinfo=self.clock).astimezone(UTC)
            if moment.astimezone(self.clock).replace(tzinfo=None, fold=0) == wall:
                return moment
            wall += MINUTE


@settings(max_examples=200, deadline=None)
@given(data=st.data(), zone=st.sampled_from(ZONES))
def test_nothing_is_skipped_or_doubled_where_clocks_change(data: st.DataObject, zone: str) -> None:
    hours = st.one_of(field(0, 4), field(0, 23))
    days = st.one_of(st.just("*"), field(1, 31))
    weekdays = st.one_of(st.just("*"), field(0, 6))
    cron = f"{data.draw(field(0, 59))} {data.draw(hours)} {data.draw(days)} * {data.draw(weekdays)}"
    after = data.draw(near_change(zone))
    until = after + timedelta(hours=36)
    clock = ZoneInfo(zone)

    timing = CronTiming(parse_or_skip(cron), clock)
    found = []
    moment = after
    while (due := timing.after(moment)) is not None and due <= until:
        assert due > moment
        found.append(due)
        moment = due
    assert found == Everyone(cron, clock).ticks(after, until)
    assert timing.between(after, until) == (len(found), found[-1] if found else None)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), zone=st.sampled_from(ZONES))
def test_the_next_tick_does_not_depend_on_who_asks_when(data: st.DataObject, zone: str) -> None:
    cron = f"{data.draw(field(0, 59))} {data.draw(field(0, 23))} * * *"
    timing = CronTiming(parse_cron(cron), ZoneInfo(zone))
    early = data.draw(near_change(zone))
    due = timing.after(early)
    assert due is not None
    microsecond = timedelta(microseconds=1)
    between = early + data.draw(st.integers(0, (due - early) // microsecond - 1)) * microsecond
    assert timing.after(between) == due


@settings(max_examples=100, deadline=None)
@given(data=st.data(), zone=st.sampled_from(ZONES), hours=st.integers(0, 24 * 400))
def test_ticks_are_counted_as_one_by_one(data: st.DataObject, zone: str, hours: int) -> None:
    minute, hour = data.draw(field(0, 59)), data.draw(field(0, 23, stars=False))
    cron = f"{minute} {hour} {data.draw(field(1, 31))} {data.draw(field(1, 12))} {data.draw(field(0, 6))}"
    timing = CronTiming(parse_or_skip(cron), ZoneInfo(zone))
    after = data.draw(near_change(zone))
    count, last, moment = 0, None, timing.after(after)
    while moment is not None and moment <= after + timedelta(hours=hours) and count < 800:
        count, last, moment = count + 1, moment, timing.after(moment)
    until = last if count == 800 and last is not None else after + timedelta(hours=hours)
    assert timing.between(after, until) == (count, last)


def test_a_year_of_seconds_is_counted() -> None:
    timing = CronTiming(parse_cron("* * * * * *"), zone_of("Europe/Berlin"))
    begin, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    assert timing.between(begin, end) == (366 * 86_400, end)
    assert timing.between(end, begin) == (0, None)


# -- what it says ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 0 29 2 *", "2097-01-01", "2104-02-29 00:00"),  # 2100 is no leap year
        ("0 0 * 2 MON#5", "2020-01-01", "2044-02-29 00:00"),
        ("0 0 L * *", "2024-02-01", "2024-02-29 00:00"),
        ("0 0 LW * *", "2026-02-01", "2026-02-27 00:00"),
        ("0 0 L,15 * *", "2026-02-16", "2026-02-28 00:00"),
        ("0 0 * * FRIL", "2026-03-01", "2026-03-27 00:00"),
        ("0 0 * * 7", "2026-03-02", "2026-03-08 00:00"),
        ("0 0 * * FRI-SUN", "2026-03-01 12:00", "2026-03-06 00:00"),
        ("0 0 * * fri-sun", "2026-03-06 12:00", "2026-03-07 00:00"),
        ("0 9 * jan,JUL mon", "2026-02-01", "2026-07-06 09:00"),
        ("5/20 * * * *", "2026-01-01 00:26", "2026-01-01 00:45"),
        ("0 0 13 * FRI", "2026-03-07", "2026-03-13 00:00"),  # either is enough
        ("0 0 13 * FRI", "2026-03-14", "2026-03-20 00:00"),
        ("0 0 */2 * MON", "2026-03-01 12:00", "2026-03-09 00:00"),  # with a star, both
        ("30 0 0 1 1 *", "2026-01-01", "2026-01-01 00:00:30"),
        ("59 59 23 31 12 *", "2026-12-31 23:59:58", "2026-12-31 23:59:59"),
    ],
)
def test_expressions(cron: str, after: str, expected: str) -> None:
    assert parse_cron(cron).after(datetime.fromisoformat(after)) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(("macro", "fields"), MACROS.items())
def test_macros_are_croniters(macro: str, fields: str) -> None:
    moment = datetime(2026, 2, 3, 4, 5)
    assert (
        parse_cron(macro).after(moment)
        == parse_cron(fields).after(moment)
        == croniter(macro, moment).get_next(datetime)
    )
    assert parse_cron(f" {macro.upper()} ").after(moment) == parse_cron(fields).after(moment)


def test_a_part_of_a_second_is_passed() -> None:
    every_second = parse_cron("* * * * * *")
    assert every_second.after(datetime(2026, 1, 1, 0, 0, 0, 999_999)) == datetime(2026, 1, 1, 0, 0, 1)
    assert every_second.after(datetime(2026, 1, 1)) == datetime(2026, 1, 1, 0, 0, 1)


def test_the_calendar_ends() -> None:
    timing = CronTiming(parse_cron("0 0 29 2 *"), zone_of("Europe/Berlin"))
    assert timing.after(datetime(9997, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("61 * * * *", r"minute 61 of cron '61 \* \* \* \*' is not in 0-59\."),
        ("* 24 * * *", "hour 24 of cron .* is not in 0-23"),
        ("* * 0 * *", "day of month 0 of .* is not in 1-31"),
        ("* * * 13 *", "month 13 of .* is not in 1-12"),
        ("* * * * 8", "day of week 8 of .* is not in 0-7"),
        ("60 * * * * *", "second 60 of .* is not in 0-59"),
        ("* * * * MUN", "day of week MUN of .* is not understood. It takes 0-7, SUN-SAT,"),
        ("* * * FEBR *", "month FEBR of .* JAN-DEC"),
        ("* * ? * *", r"day of month \? of .* is not understood"),
        ("-5 * * * *", "minute -5 of .* is not understood"),
        ("1.5 * * * *", "minute 1.5 of .* is not understood"),
        ("١ * * * *", "is not understood"),
        ("0 22-2 * * *", "hour 22-2 of .* goes from 22 down to 2. Two parts say it: 22-23,0-2"),
        ("0 0 L-3 * *", "day of month L-3 of .* is not understood"),
        ("0 0 * * L", "day of week L of .* is not understood"),
        ("0 0 * * MON#6", "day of week MON#6 .* there are 1 to 5"),
        ("0 0 * * #2", "day of week #2 of"),
        ("*/0 * * * *", r"minute \*/0 of .* has no step"),
        ("*/ * * * *", r"minute \*/ of .* has no step"),
        ("*/90 * * * *", r"minute \*/90 of .* has a step beyond 59. .* every=…"),
        ("1,,2 * * * *", "minute of .* has an empty part"),
        ("", "cron '' has 0 fields. It takes five"),
        ("* * * *", "has 4 fields"),
        ("* * * * * * 2026", "has 7 fields"),
        ("0 0 31 2 *", "never comes. No such day is in such a month"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 1-7 * MON#2", None),
        ("0 0 */20 * MON#2", "never comes"),  # the 1st or 21st is no second Monday
        ("@reboot", "'@reboot' is no time"),
        ("@every 5m", "Intervals are every="),
        ("@dayly", "is unknown. There are @hourly"),
    ],
)
def test_what_is_wrong_is_refused_with_the_part(cron: str, message: str | None) -> None:
    if message is None:  # either is enough, so it comes
        parse_cron(cron)
        return
    with pytest.raises(ScheduleError, match=message) as caught:
        parse_cron(cron)
    assert caught.value.context == {"part": "cron", "value": cron}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'"),
        ("europe/berlin", "Did you mean 'Europe/Berlin'"),
        ("UTC+2", "Etc/GMT-2 is two hours before UTC"),
        ("+02:00", "Name a place"),
        ("MESZ", "IANA name|Did you mean"),
        ("", "IANA name"),
        ("localtime", "IANA name|Did you mean"),
        ("../../etc/passwd", "IANA name|Did you mean"),
        ("/etc/localtime", "IANA name|Did you mean"),
        ("Europe", "IANA name|Did you mean"),
        ("Europe/Berlin\0", "IANA name|Did you mean"),
        (None, "IANA name"),
        (7, "IANA name"),
    ],
)
def test_unknown_time_zones_are_refused(name: object, hint: str) -> None:
    with pytest.raises(ScheduleError, match="There is no time zone") as caught:
        zone_of(name)  # type: ignore[arg-type]
    assert caught.value.hint is not None
    assert any(part in caught.value.hint for part in hint.split("|"))

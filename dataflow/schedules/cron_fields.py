"""The fields of a cron expression: their ranges, names and specials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_WEEKDAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}


class Problem(Exception):
    """What is wrong with an expression: ``what`` of it ("minute 61"), or nothing for all of it, and ``why``."""

    def __init__(self, why: str, *, what: str = "", hint: str | None = None) -> None:
        super().__init__(why)
        self.why, self.what, self.hint = why, what, hint


@dataclass(frozen=True, slots=True)
class Values:
    """What a field says.

    Attributes:
        plain: Its numbers, as bits.
        last: The last day of the month (``L``).
        last_workday: The last day of the month that is not a Saturday or Sunday (``LW``).
        last_of: Days of the week, as bits, of which the last in the month is meant (``5L``).
        nth: Days of the week, as bits, by which in the month (``1#2``).
    """

    plain: int = 0
    last: bool = False
    last_workday: bool = False
    last_of: int = 0
    nth: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name, its lowest and highest value, and words for values."""

    name: str
    low: int
    high: int
    words: Mapping[str, int] = field(default_factory=dict)

    def read(self, text: str) -> Values:
        """What the field's text says.

        Raises:
            Problem: It is wrong.
        """
        plain, last_of = 0, 0
        last = last_workday = False
        nth: list[tuple[int, int]] = []
        for term in text.split(","):
            if not term:
                raise self._problem("", "has an empty part", hint=self._allowed())
            if self is DAY and term == "L":
                last = True
            elif self is DAY and term == "LW":
                last_workday = True
            elif self is WEEKDAY and term.endswith("L"):
                last_of |= 1 << self._value(term[:-1], term) % 7
            elif self is WEEKDAY and "#" in term:
                nth.append(self._nth(term))
            else:
                plain |= self._range(term)
        if self is WEEKDAY:
            plain = plain & 0x7F | plain >> 7  # 7 is Sunday too
        return Values(plain, last, last_workday, last_of, tuple(nth))

    def _range(self, term: str) -> int:
        base, slash, step_text = term.partition("/")
        step = self._step(step_text, term) if slash else 1
        if base == "*":
            # Sunday is in it once.
            low, high = self.low, 6 if self is WEEKDAY else self.high
        elif "-" in base:
            first, _, end = base.partition("-")
            low, high = self._value(first, term), self._value(end, term)
            if self is WEEKDAY and high == 0 < low:
                high = 7  # FRI-SUN
            if high < low:
                raise self._problem(
                    term,
                    f"goes from {low} down to {high}",
                    hint=f"Two parts say it: {low}-{self.high},{self.low}-{high}.",
                )
        else:
            low = self._value(base, term)
            high = self.high if slash else low
        return sum(1 << number for number in range(low, high + 1, step))

    def _step(self, text: str, term: str) -> int:
        if not _is_number(text) or int(text) == 0:
            raise self._problem(term, "has no step", hint="After / comes a number from 1: */15.")
        step = int(text)
        if step > self.high:
            # Cron takes it, and means the first value only: nobody who writes */90 for minutes wants that.
            raise self._problem(
                term,
                f"has a step beyond {self.high}",
                hint="Intervals that cross the field's end are every=…, in seconds.",
            )
        return step

    def _nth(self, term: str) -> tuple[int, int]:
        day, _, number = term.partition("#")
        if not _is_number(number) or not 1 <= int(number) <= 5:
            raise self._problem(term, "is none", hint="MON#2 is the second Monday of the month; there are 1 to 5.")
        return 1 << self._value(day, term) % 7, int(number)

    def _value(self, text: str, term: str) -> int:
        if text in self.words:
            return self.words[text]
        if not _is_number(text):
            raise self._problem(term, "is not understood", hint=self._allowed())
        if not self.low <= int(text) <= self.high:
            raise self._problem(term, f"is not in {self.low}-{self.high}")
        return int(text)

    def _problem(self, term: str, why: str, *, hint: str | None = None) -> Problem:
        return Problem(why, what=f"{self.name} {term}" if term else self.name, hint=hint)

    def _allowed(self) -> str:
        names = [*self.words]
        words = f", {names[0]}-{names[-1]}" if names else ""
        return f"It takes {self.low}-{self.high}{words}, *, ranges (1-5), lists (1,3) and steps (*/2)."


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of month", 1, 31)
MONTH = Field("month", 1, 12, _MONTHS)
WEEKDAY = Field("day of week", 0, 7, _WEEKDAYS)


@dataclass(frozen=True, slots=True)
class Days:
    """Which days of a month match: by number and by day of the week."""

    numbers: Values
    weekdays: Values
    both: bool

    def of_month(self, first: int, length: int) -> int:
        """The matching days, as bits 1 to 31, of a month that begins on a day (Monday is 0) and has so many."""
        all_days = (1 << length + 1) - 2
        by_number = self.numbers.plain & all_days
        if self.numbers.last:
            by_number |= 1 << length
        if self.numbers.last_workday:
            last = (first + length - 1) % 7
            by_number |= 1 << length - max(0, last - 4)
        by_weekday = _week(self.weekdays.plain, first) & all_days
        if self.weekdays.last_of:
            by_weekday |= _week(self.weekdays.last_of, first) & all_days & ~(all_days >> 7)
        for weekday, number in self.weekdays.nth:
            by_weekday |= _week(weekday, first) & 0xFE << 7 * (number - 1) & all_days
        return by_number & by_weekday if self.both else by_number | by_weekday


def _week(weekdays: int, first: int) -> int:
    """Days 1 to 35, as bits, on these days of the week (bit 0 is Sunday), of a month that begins on ``first``."""
    shift = (first + 1) % 7  # of the 1st, Sunday is 0
    days = (weekdays >> shift | weekdays << 7 - shift) & 0x7F
    return (days | days << 7 | days << 14 | days << 21 | days << 28) << 1

"""When a record was, as FHIRPath: a moment, or a Period from its start to its end, and how it compares with points in time."""

from __future__ import annotations

from calendar import monthrange

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.compiler.forms.kinds import date_paths


def first_of(paths: tuple[str, ...], prefix: str = "") -> str:
    """FHIRPath for the first of some paths that has a value."""
    full = [f"{prefix}{path}" for path in paths]
    return full[0] if len(full) == 1 else f"({' | '.join(full)}).first()"


class TimeSpan(Struct, frozen=True):
    """When something was, as FHIRPath: `start` is its moment, or its first one; `period` is the Period that it may be recorded by.

    A Period without an end goes on (FHIR: "Period"), unless `ended` holds: then its end is not known.
    """

    start: str
    period: str | None = None
    ended: str | None = None
    by_day: bool = False

    def until(self, sign: str, point: str) -> str:
        """That it was before a point in time (`<`, `<=`): that it had begun."""
        return f"{self._of(self.start)} {sign} {point}"

    def since(self, sign: str, point: str) -> str:
        """That it was after a point in time (`>`, `>=`): that it had not ended."""
        moment = f"{self._of(self.start)} {sign} {point}"
        if self.period is None:
            return moment
        end = f"{self.period}.end"
        going = f" or (({self.ended}).not() and {'today()' if self.by_day else 'now()'} {sign} {point})"
        without_end = f"{self._of(f'{self.period}.start')} {sign} {point}{going if self.ended else ''} or {{}}"
        lasted = f"iif({end}.exists(), {self._of(end)} {sign} {point}, {without_end})"
        return f"iif({self.period}.exists(), {lasted}, {moment})"

    def on(self, day: str) -> str:
        """That it was on a day."""
        if self.period is None:
            return f"{self.start}.toDate() = {day}"
        days = replace(self, by_day=True)
        return f"{days.until('<=', day)} and {days.since('>=', day)}"

    def _of(self, date: str) -> str:
        return f"{date}.toDate()" if self.by_day else date


# Periods that rows are recorded by, and a test that they have ended although no end is recorded; None: they have.
_PERIODS = {
    "Observation": ("{row}effective.ofType(Period)", None),
    "Procedure": ("{row}{performed}.ofType(Period)", "({row}status = 'in-progress').not()"),
    "MedicationStatement": ("{row}effective.ofType(Period)", "{row}status in ('completed' | 'stopped')"),
    "MedicationAdministration": ("{row}{administered}.ofType(Period)", "{row}status in ('completed' | 'stopped')"),
    "Encounter": ("{row}{period}", "{row}status in ('finished' | 'completed' | 'discharged')"),
    "EpisodeOfCare": ("{row}period", "{row}status = 'finished'"),
    "DeviceUseStatement": ("{row}timing.ofType(Period)", "{row}status = 'completed'"),
    "DeviceUsage": ("{row}timing.ofType(Period)", "{row}status = 'completed'"),
}


def span_of(model: Model, row_type: str, prefix: str = "") -> TimeSpan:
    """When a row of a type that has dates was."""
    start = first_of(date_paths(model, row_type), prefix)
    if row_type not in _PERIODS:
        return TimeSpan(start)
    names = {
        "row": prefix,
        "period": model.first_of("Encounter", "period", "actualPeriod"),
        "administered": model.first_of("MedicationAdministration", "effective", "occurence"),
        "performed": model.first_of("Procedure", "performed", "occurrence"),
    }
    period, ended = _PERIODS[row_type]
    return TimeSpan(start, period.format(**names), ended.format(**names) if ended is not None else None)


def whole_day(bound: str, *, last: bool) -> str:
    """The first or the last day of a date that is known to the year or the month; any other as it is."""
    numbers = bound.split("-")
    if "T" in bound or len(numbers) > 2 or not all(number.isdigit() for number in numbers):
        return bound
    year = int(numbers[0])
    month = int(numbers[1]) if len(numbers) == 2 else (12 if last else 1)
    if not (1 <= year and 1 <= month <= 12):
        return bound
    day = monthrange(year, month)[1] if last else 1
    return f"{year:04}-{month:02}-{day:02}"

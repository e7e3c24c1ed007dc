"""Files none of whose lines is a resource - a log, a table under a wrong name - told once, and not by each of their lines."""

from __future__ import annotations

from collections.abc import Callable

from fhir_eligibility.data.files.problems import Problem

HELD = 200
"""Problems that are held back until a line is a resource, or the file ends."""
_HINT = "if these are patients' data, have them exported as FHIR (NDJSON); else move the file away"


CODES = frozenset(("invalid-json", "not-a-resource"))


class OtherLines:
    """Takes the problems of a file; those of lines that are no resources, and name none, are told together where every line is such.

    `report` gets what is told, line by line as soon as one line of the file is something else; `lines` tells how many lines were read that are not blank.
    """

    def __init__(self, path: str, report: Callable[[Problem], None], lines: Callable[[], int]) -> None:
        self._path = path
        self._report = report
        self._lines = lines
        self._held: list[Problem] = []
        self._count = 0
        self._last: Problem | None = None
        self._together = True

    @property
    def held(self) -> int:
        """How many problems were held back so far."""
        return self._count

    def add(self, problem: Problem) -> None:
        """Take in a problem."""
        named = problem.type, problem.resource, problem.patient, problem.entry
        if not self._together or named != (None, None, None, None) or problem.code not in CODES:
            self._report(problem)
            return
        if self._count + 1 < self._lines():
            self._each()
            self._report(problem)
            return
        self._count += 1
        self._last = problem
        if len(self._held) < HELD:
            self._held.append(problem)

    def finish(self) -> None:
        """All lines are read."""
        if not self._together or not self._held:
            return
        if self._count < self._lines() or self._count == 1:
            self._each()
            return
        first = next((one for one in self._held if one.code == "invalid-json"), None)
        which = f"none of the {self._count} lines of this file is"
        if first is not None:
            message = f"{which} FHIR's JSON; the first that is not JSON: {first.message}"
            self._report(Problem(file=self._path, code="invalid-json", message=message, hint=first.hint or _HINT))
        else:
            message = f"{which} a FHIR resource: none has a resourceType, as in a log"
            self._report(
                Problem(file=self._path, code="not-a-resource", severity="warning", message=message, hint=_HINT)
            )

    def _each(self) -> None:
        """Some line is something else: each of those so far is a problem of its own."""
        self._together = False
        for problem in self._held:
            self._report(problem)
        left = self._count - len(self._held)
        if left > 0 and self._last is not None:
            message = (
                f"{left} more lines up to this one hold no resource; of the one before them: {self._held[-1].message}"
            )
            self._report(self._last.model_copy(update={"message": message}))
        self._held.clear()

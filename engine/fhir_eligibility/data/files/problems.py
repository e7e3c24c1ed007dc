"""What could not be read, or was read differently than written: one record each, as they go into problems.ndjson."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CONFLICTING, DELETION = "conflicting-versions", "deletion-not-understood"
ENTRIES = "Bundle.entry"
"""The element of a problem with entries of a bundle. Where it names a patient, the bundle was made for that patient, and holds the Patient."""
SO_FAR = "Bundle"
"""The element of a problem with a bundle that holds one Patient as far as it can be read, and may have held others."""
SERVER_ERROR = "server-error"
"""The code of what a server says instead of data."""
ANSWER = "Bundle.entry.response"
"""The element of a problem with what a server says of one entry; what it says elsewhere is about nobody knows how many records."""
NEXT_PAGE = "next-page-missing"
"""The code of a page of a search or a history whose next page is not among the data."""
MATCHES = "matches-missing"
"""The code of a search of which fewer matches are among the data than the server counts."""
PATCHED = "patch-not-applied"
"""The code of a patch: what it makes of a record is not known."""
NOTHING_LOST = frozenset((CONFLICTING, DELETION))
"""Codes of errors that lose no record: what is in doubt is told of the record itself."""


NOT_DESCRIBED = "patient-not-described"
"""The code of a patient whom no Patient resource describes: that one is missing, and nothing else of the patient."""
NO_PATIENT = "no-patient"
"""The code of what is wrong with a record that was read, and belongs to nobody."""
_UNREAD = frozenset(
    ("invalid-json", "not-a-resource", "unknown-resource-type", "too-large", "malformed-bundle", "damaged-record")
)


class Problem(BaseModel):
    """One problem of the data. The run goes on; nothing is dropped without one of these."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    file: str | None = Field(None, description="file that the problem is in")
    line: int | None = Field(None, description="one-based line (NDJSON)")
    offset: int | None = Field(
        None, description="zero-based byte offset of the line in the file, decompressed (NDJSON)"
    )
    entry: int | None = Field(None, description="zero-based index of the bundle entry or array item")
    resource: str | None = Field(None, description="resource concerned, as Type/id")
    type: str | None = Field(None, description="resource type of which something is lost, where it is known")
    patient: str | None = Field(None, description="patient concerned, as Type/id, where the text still tells")
    element: str | None = Field(None, description="element concerned")
    code: str = Field(description="stable code of the kind of problem")
    severity: Literal["error", "warning"] = Field("error", description="error: something was lost")
    message: str = Field(description="what is wrong, in a sentence")
    hint: str | None = Field(None, description="what to do about it")

    def __str__(self) -> str:
        """Where, what, and what to do, in a line."""
        line = f":{self.line}" if self.line is not None else ""
        entry = f" entry {self.entry}" if self.entry is not None else ""
        place = f"{self.file or ''}{line}{entry}"
        about = self.resource or self.patient
        named = f" {about}" if about and about not in self.message else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}{named}: {self.message}{hint}" if place or named else f"{self.message}{hint}"


def is_unread(problem: Problem) -> bool:
    """Whether a problem is that a line, an entry or a document was not read. What is only read in another way, such as without its fullUrl, names an element."""
    whole = problem.element is None or problem.element in (ENTRIES, SO_FAR)
    return problem.severity == "error" and problem.code in _UNREAD and whole

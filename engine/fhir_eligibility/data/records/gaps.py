"""What of a patient's data may be missing: carried by the patient's compartment, and asked where a criterion found nothing."""

from __future__ import annotations

from msgspec import Struct

EVERY = "*"
"""In the place of a resource type: of whatever type."""


class Gap(Struct, frozen=True):
    """Records of a type (`EVERY`: of any) may be missing.

    `why` is a clause that names the file or the record ("Condition.ndjson is cut short"). With `replaced`, records that are there may have been changed or
    deleted, too. With `tolerated`, answers stay as they are, and it is only counted which of them rest on it. With `others`, the records are other patients':
    they count only where a criterion follows references to them. With `filters` all records are there that these searches find.
    """

    type: str
    why: str
    replaced: bool = False
    tolerated: bool = False
    others: bool = False
    filters: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The same as a sentence."""
        what = "the data is" if self.type == EVERY else f"{self.type} is"
        return f"{what} incomplete: {self.why}"


Gaps = tuple[Gap, ...]
WHOLE: Gaps = ()

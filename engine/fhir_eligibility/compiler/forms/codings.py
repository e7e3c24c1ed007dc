"""A coding of a characteristic with what is known of the codes that it includes."""

from __future__ import annotations

from fhir_eligibility.artifacts.records import Coding


class GroupedCoding(Coding, frozen=True, kw_only=True):
    """A coding with `condition`, FHIRPath on a Coding for itself and what it includes, and the kinds of record that its hierarchy puts it to.

    `exact` tells that only the code itself matches although it may include others.
    """

    condition: str | None = None
    kinds: tuple[str, ...] = ()
    exact: bool = False

"""What a retrieve asks for, as a value that emitted code carries and that data requirements are derived from (CQL: "Retrieve")."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrieveSpec:
    """A retrieve: resources of a type, with a profile where one counts, perhaps filtered by codes.

    `keys` are the JSON names that lead to the codes; `paths` has one such tuple for each way the element is written (a choice).
    `negated` leads to the extension in which a "not done" resource names the whole value set that was not done. `referenced` are the JSON
    names that lead to a reference beside the codes, to a resource of the type `target` whose `code` counts as well.
    """

    resource_type: str
    profile: str | None = None
    code_path: str | None = None
    paths: tuple[tuple[str, ...], ...] = ()
    negated: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    referenced: tuple[str, ...] = ()
    target: str = ""

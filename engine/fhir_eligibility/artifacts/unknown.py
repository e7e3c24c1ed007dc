"""Criteria that cannot be told from others, or that hold what FHIR does not have: made distinct, or unknown with the reason why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.records import CombinationDefinition, Criterion, LinkDefinition, NotComputableDefinition
from fhir_eligibility.artifacts.shape import Finding, pointer

Json = dict[str, Any]
KeyPath = tuple[str | int, ...]


def with_unique_ids(
    criteria: tuple[Criterion, ...], resource: Json, paths: dict[str, KeyPath]
) -> tuple[tuple[Criterion, ...], list[tuple[KeyPath, str]]]:
    """Criteria of which no two have the same id, and where a linkId stands that stood before; what refers to such a one is unknown.

    `paths` tells where in the resource the criteria stand, by the pointers of their locations.
    """
    first: dict[str, Criterion] = {}
    doubled: set[str] = set()
    twice: list[tuple[KeyPath, str]] = []

    def unique(criterion: Criterion) -> Criterion:
        known = first.setdefault(criterion.id, criterion)
        if known is not criterion:
            path = paths.get(criterion.location.pointer, ())
            item = _at(resource, path)
            if isinstance(item, dict) and criterion.id in (item.get("linkId"), item.get("id")):
                doubled.add(criterion.id)
                message = f"the linkId {criterion.id!r} stands more than once; the other stands in {known.location}"
                twice.append(((*path, "linkId" if "linkId" in item else "id"), message))
            number = 2
            while f"{criterion.id} ({number})" in first:
                number += 1
            criterion = criterion.changed(id=f"{criterion.id} ({number})")
            first[criterion.id] = criterion
        return _with_members(criterion, unique)

    found = tuple(map(unique, criteria))
    return (found if not doubled else tuple(_without_links(criterion, doubled) for criterion in found)), twice


def _with_members(criterion: Criterion, change: Callable[[Criterion], Criterion]) -> Criterion:
    """A criterion whose members, if it is a combination, are changed."""
    definition = criterion.definition
    if not isinstance(definition, CombinationDefinition):
        return criterion
    members = tuple(map(change, definition.members))
    return criterion.changed(definition=definition.changed(members=members))


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


def without_misshapen(
    criteria: tuple[Criterion, ...], resource: Json, findings: Sequence[Finding]
) -> tuple[Criterion, ...]:
    """Criteria without those whose meaning depends on something that FHIR does not have: these are unknown, and a person has to read them."""
    wrong: dict[str, str] = {}
    kind = str(resource.get("resourceType"))
    for found in findings:
        if not found.weighty or not found.path or found.path[0] in ("id", "url", "version"):
            continue
        if found.path[0] == "contained" and not _of_the_whole(resource, found.path):
            continue
        at = [
            n + 1
            for n, step in enumerate(found.path)
            if isinstance(step, int) and found.path[n - 1] == "characteristic"
        ]
        owner = pointer(kind, found.path[: at[-1]]) if at else ""
        wrong.setdefault(owner, f"the definition is not as FHIR has it: {found.message} ({pointer(kind, found.path)})")
    return tuple(_misshapen(criterion, wrong) for criterion in criteria) if wrong else criteria


def _of_the_whole(resource: Json, path: KeyPath) -> bool:
    """Whether something wrong in a contained resource concerns all criteria: other artifacts and libraries answer for themselves."""
    contained = resource.get("contained")
    if not isinstance(contained, list) or len(path) < 2 or not isinstance(path[1], int) or path[1] >= len(contained):
        return True
    inner = contained[path[1]]
    return inner.get("resourceType") not in (
        "EvidenceVariable",
        "Group",
        "Library",
        "ValueSet",
        "CodeSystem",
        "Measure",
    )


def _misshapen(criterion: Criterion, wrong: dict[str, str]) -> Criterion:
    detail = wrong.get("") or wrong.get(criterion.location.pointer)
    if detail is not None:
        definition = NotComputableDefinition(reason=Reason.NEEDS_REVIEW, detail=detail)
        changes: dict[str, Any] = {"also": None, "timing": (), "instances": None, "duration": None}
        return criterion.changed(definition=definition, **changes)
    return _with_members(criterion, lambda member: _misshapen(member, wrong))


def _without_links(criterion: Criterion, doubled: set[str]) -> Criterion:
    """A criterion that does not refer to a linkId of two characteristics, else unknown."""
    definition = criterion.definition
    named = {when.event.id for when in criterion.timing if when.event is not None and when.event.id}
    if isinstance(definition, LinkDefinition):
        named.add(definition.link_id)
    if named & doubled:
        detail = f"more than one characteristic has the linkId {sorted(named & doubled)[0]!r}"
        ambiguous = NotComputableDefinition(reason=Reason.UNRESOLVED_REFERENCE, detail=detail)
        return criterion.changed(definition=ambiguous, timing=())
    return _with_members(criterion, lambda member: _without_links(member, doubled))

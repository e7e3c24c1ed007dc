"""What a retrieve asks for, as a value that emitted code carries and that data requirements are derived from (CQL: "Retrieve")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node


class RetrieveSpec(Struct, frozen=True):
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


def codes_and_context(node: n.ModelRetrieve) -> tuple[Node | None, Node | None]:
    """What a Retrieve node filters by, and the expression that says whose data it asks for (None: the patient's own)."""
    operands = list(node.operands)
    context = operands.pop() if node.related else None
    return (operands[0] if operands else None), context


def has_profile(resource: Any, profile: str) -> bool:
    """Whether a resource claims a profile (`meta.profile`), of whatever version."""
    meta = resource.get("meta")
    profiles = meta.get("profile") if meta.__class__ is dict else None
    return any(found.partition("|")[0] == profile for found in profiles or ())

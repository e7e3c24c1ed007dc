"""What code systems tell: subsumption, and which codes pass the filters of a value set (FHIR: CodeSystem, FilterOperator).

A code system may be there whole, in part, or not at all. Where it is not whole, a filter still decides some codes: one that names codes
excludes all others, and a code is no descendant of itself. All the rest of that system is unknown; other systems are not touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Set

from fhir_eligibility.algebra.values.expansion import Expansion, Member, unknown
from fhir_eligibility.artifacts.terminology import CodeSystemRecord, ConceptFilter

_HIERARCHICAL = ("is-a", "descendent-of", "is-not-a", "generalizes", "child-of", "descendent-leaf")
_NEGATIVE = ("is-not-a", "not-in", "descendent-leaf")  # what is not listed could make a listed code fail


def below(record: CodeSystemRecord, code: str) -> frozenset[str]:
    """All that descends from a code; circles end."""
    return _reached(code, lambda found: record.children.get(found, ()))


def above(record: CodeSystemRecord, code: str) -> frozenset[str]:
    """All that a code descends from; circles end."""
    return _reached(code, lambda found: record.parents.get(found, ()))


def _reached(start: str, step: Callable[[str], Iterable[str]]) -> frozenset[str]:
    found: set[str] = set()
    stack = list(step(start))
    while stack:
        code = stack.pop()
        if code not in found:
            found.add(code)
            stack.extend(step(code))
    return frozenset(found)


def subsumes(record: CodeSystemRecord, general: str, special: str) -> bool | None:
    """Whether a code is another or an ancestor of it; None where the code system does not list enough to tell."""
    if general == special or general in above(record, special):
        return True
    return False if record.complete and general in record.parents and special in record.parents else None


def selected(
    record: CodeSystemRecord | None,
    system: str,
    filters: tuple[ConceptFilter, ...],
    why: str,
    active_only: bool = False,
) -> Expansion:
    """The codes of a code system that pass all filters. `why` is the reason where the system is not there or not whole."""
    found = _all(record, system, why)
    for condition in filters:
        found = found.within(_passing(record, system, condition, why))
    if active_only and record is not None:
        found = found.minus(Expansion((system, code) for code in record.inactive))
    return found


def _all(record: CodeSystemRecord | None, system: str, why: str) -> Expansion:
    if record is None:
        return unknown(why, system)
    listed = [(system, code) for code in record.parents]
    return Expansion(listed) if record.complete else Expansion(listed, open={system: why})


def _passing(record: CodeSystemRecord | None, system: str, condition: ConceptFilter, why: str) -> Expansion:
    """The codes of a system that pass one filter."""
    if not _known(condition):
        return unknown(f"its filter {condition} is not computed", system)
    on_property = condition.property not in ("concept", "code") and condition.operator not in _HIERARCHICAL
    if record is not None and on_property and condition.property not in record.property_names:
        return unknown(f"its filter {condition} asks for a property of which the code system tells nothing", system)
    if record is not None and record.complete:
        return Expansion((system, code) for code in _listed_passing(record, condition))
    if _about_code(condition):
        return _by_code(record, system, condition, why)
    out: set[Member] = set()
    if condition.operator in ("descendent-of", "descendent-leaf", "is-not-a", "child-of"):
        out.add((system, condition.value))
    if record is None:
        return unknown(why, system, out)
    passing = {(system, code) for code in _listed_passing(record, condition)}
    if condition.operator in _NEGATIVE or (condition.operator == "exists" and condition.value == "false"):
        return unknown(why, system, out)
    return Expansion(passing, open={system: why}, out=out)


def _by_code(record: CodeSystemRecord | None, system: str, condition: ConceptFilter, why: str) -> Expansion:
    """A filter on the code itself, over a system that is not there whole: the text of a code decides, its existence may be unknown."""
    listed = record.parents if record is not None else {}
    test = _test(condition)
    passing = [(system, code) for code in listed if test([code])]
    if condition.operator in ("=", "in"):
        wanted = _values(condition)
        return Expansion(passing, {(system, code): why for code in wanted})
    out = [(system, code) for code in listed if not test([code])]
    if condition.operator == "not-in":
        out += [(system, code) for code in _values(condition)]
    return Expansion(passing, open={system: why}, out=out)


def _about_code(condition: ConceptFilter) -> bool:
    return condition.property in ("concept", "code") and condition.operator not in _HIERARCHICAL


def _known(condition: ConceptFilter) -> bool:
    if condition.operator == "regex":
        try:
            re.compile(condition.value)
        except re.error:
            return False
        return True
    if condition.operator == "exists":
        return condition.value in ("true", "false")
    return condition.operator in (*_HIERARCHICAL, "=", "in", "not-in")


def _values(condition: ConceptFilter) -> list[str]:
    if condition.operator == "=":
        return [condition.value]
    return [text.strip() for text in condition.value.split(",")]


def _test(condition: ConceptFilter) -> Callable[[list[str]], bool]:
    """Whether the values of a property pass."""
    operator, values = condition.operator, set(_values(condition))
    if operator == "regex":
        pattern = re.compile(condition.value)
        return lambda found: any(pattern.fullmatch(text) for text in found)
    if operator == "exists":
        wanted = condition.value == "true"
        return lambda found: bool(found) is wanted
    if operator == "not-in":
        return lambda found: not values & set(found)
    return lambda found: bool(values & set(found))


def _listed_passing(record: CodeSystemRecord, condition: ConceptFilter) -> Set[str]:
    """The codes that a code system lists and that pass a filter."""
    listed, operator, value = record.parents, condition.operator, condition.value
    if operator in _HIERARCHICAL:
        if operator == "child-of":
            return set(record.children.get(value, ())) & listed.keys()
        if operator == "generalizes":
            return ({value} | above(record, value)) & listed.keys()
        descendants = below(record, value)
        if operator == "is-not-a":
            return listed.keys() - descendants - {value}
        if operator == "descendent-leaf":
            return {code for code in descendants & listed.keys() if not record.children.get(code)}
        return (descendants | {value} if operator == "is-a" else descendants) & listed.keys()
    test = _test(condition)
    if condition.property in ("concept", "code"):
        return {code for code in listed if test([code])}
    if condition.property == "parent":
        return {code for code, parents in listed.items() if test(list(parents))}
    if condition.property == "child":
        return {code for code in listed if test(record.children.get(code, []))}
    return {code for code in listed if test(record.values(code, condition.property))}

"""Questions of terminology that compiled expressions ask: codes in value sets and code systems, and subsumption.

What holds the terminology is handed in and not known here. A value set that is missing is an error of whoever asks; one that is known in part
answers true, false, or unknown (None).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, ValueSet, codes_of
from fhir_eligibility.algebra.values.code_systems import alias_of, canonical
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.expansion import Expansion, Member
from fhir_eligibility.compiler.runtime.fhir_values import to_code, to_concept


class Codes(Protocol):
    """Value sets by `url` and `url|version`, each the codes (system, code) that it has.

    A terminology also answers `expansion(ValueSet)`, `why_missing`, `code_system`, `in_code_system` and `subsumes`.
    """

    def get(self, url: str, /) -> frozenset[Member] | Expansion | None: ...


NO_CODES: dict[str, frozenset[Member]] = {}


class ValueSetMembership:
    """Answers from one terminology; value sets are looked up once. Raises EvaluationError `missing-valueset`, `no-terminology`."""

    def __init__(self, source: Codes) -> None:
        self.source = source
        self._known: dict[ValueSet, Expansion] = {}
        self._matching: dict[ValueSet, Expansion] = {}

    # -- value sets

    def members(self, value_set: ValueSet) -> Expansion:
        """The codes of a value set to look for, as far as they are known. Raises EvaluationError `missing-valueset`.

        They have the canonical addresses of their code systems, besides those that the value set writes.
        """
        found = self._matching.get(value_set)
        if found is None:
            found = self._matching[value_set] = with_canonical(self._written(value_set))
        return found

    def _written(self, value_set: ValueSet) -> Expansion:
        found = self._known.get(value_set)
        if found is None:
            found = self._known[value_set] = self._found(value_set)
        return found

    def _found(self, value_set: ValueSet) -> Expansion:
        ask = getattr(self.source, "expansion", None)
        key = f"{value_set.id}|{value_set.version}" if value_set.version else value_set.id or ""
        found = ask(value_set) if ask is not None else self.source.get(key)
        if found is None:
            tell = getattr(self.source, "why_missing", None)
            why = "was not given" if tell is None else tell(value_set)
            raise EvaluationError("missing-valueset", f"the value set {shown(value_set)} {why}")
        return found if isinstance(found, Expansion) else Expansion(found)

    def in_value_set(self, code: Any, value_set: ValueSet) -> bool | None:
        """Whether a code, a code of a concept, or a bare text is in a value set. Raises EvaluationError `ambiguous-code` for a text."""
        members = self.members(value_set)
        kind = code.__class__
        if kind is Code:
            return _has(members, code)
        if kind is str:
            try:
                return self._written(value_set).by_text(code)
            except EvaluationError as error:
                raise EvaluationError(error.code, f"{error.message} ({shown(value_set)})") from None
        return any_of(_has(members, c) for c in codes_of(code) if c is not None)

    def expand(self, value_set: ValueSet) -> list[Code]:
        """The codes of a value set (CQL: ExpandValueSet). Raises EvaluationError `incomplete-valueset` where not all are known."""
        members = self._written(value_set)
        if not members.complete:
            raise EvaluationError(
                "incomplete-valueset", f"the value set {shown(value_set)} is not known whole: {members.why}"
            )
        return [Code(code, system) for system, code in sorted(members.codes, key=str)]

    def why(self, code: Any, value_set: ValueSet) -> str:
        """Why it cannot be told whether a code is in a value set, as a sentence."""
        members = self.members(value_set)
        if code.__class__ is str:
            return f"whether {code!r} is in the value set {shown(value_set)} cannot be told: {members.why or 'it has no code system'}"
        for found in listed(code):
            reason = None if found is None else members.unsure((found.system, found.code))
            if found is not None and reason is not None:
                name = f"{found.system}|{found.code}"
                return f"whether {name} is in the value set {shown(value_set)} cannot be told: {reason}"
        return f"the value set {shown(value_set)} is not known whole: {members.why}"

    def member_of(self, value: Any, url: str) -> bool | None:
        """Membership of a code, Coding or CodeableConcept (FHIR: memberOf); a text in a set of several code systems has no answer."""
        try:
            return self.in_value_set(coded(value), ValueSet(url))
        except EvaluationError as error:
            if error.code == "ambiguous-code":
                return None
            raise

    # -- code systems

    def in_code_system(self, code: Any, code_system: CodeSystem) -> bool | None:
        """Whether a code is of a code system; None where its codes are not all known, or it was not given."""
        ask = self._asked("in_code_system", f"the code system {code_system.name or code_system.id!r} was not given")
        codes = [Code(code, code_system.id)] if code.__class__ is str else [c for c in codes_of(code) if c is not None]
        return any_of(ask(c, code_system) for c in codes)

    def subsumes(self, general: Any, special: Any) -> bool | None:
        """Whether a code of the first is, or subsumes, one of the second; None where their code system does not tell."""
        ask = self._asked("subsumes", "subsumption needs the code system's hierarchy, and none was given")
        pairs = [(a, b) for a in codes_of(general) for b in codes_of(special) if a is not None and b is not None]
        return any_of(ask(a, b) for a, b in pairs)

    def lacking(self, *values: Any) -> str | None:
        """The first code system among codes, concepts and code systems that was not given, as a sentence; None where all were."""
        ask = self._asked("code_system", "no code system was given")
        for value in values:
            if value.__class__ is CodeSystem:
                systems = [(value.id, value.version)]
            else:
                systems = [(c.system, None) for c in listed(value) if c is not None]
            for url, version in systems:
                if ask(url or "", version) is None:
                    return f"the code system {url}{'|' + version if version else ''} was not given"
        return None

    def _asked(self, name: str, message: str) -> Callable[..., Any]:
        found = getattr(self.source, name, None)
        if found is None:
            raise EvaluationError("no-terminology", message)
        return found  # type: ignore[no-any-return]


def coded(value: Any) -> Any:
    """FHIR's Coding, CodeableConcept or code as Code, Concept or text; a value of CQL as it is."""
    if value.__class__ is list:
        return [coded(item) for item in value]
    found = value.value if value.__class__ is Element else value
    if found.__class__ is not dict:
        return found
    return to_concept(found) if "coding" in found or "text" in found else to_code(found)


def with_canonical(members: Expansion) -> Expansion:
    """A set of codes with the canonical addresses of its code systems, besides those that it is written with."""
    if not any(map(alias_of, members.systems)):
        return members

    def both(listed: Iterable[Member]) -> list[Member]:
        return [*listed, *((known, code) for system, code in listed if (known := alias_of(system)) is not None)]

    maybe = {(canonical(system) if system else system, code): why for (system, code), why in members.maybe.items()}
    open_ = {canonical(system) if system else system: why for system, why in members.open.items()}
    return Expansion(both(members.codes), {**maybe, **members.maybe}, {**open_, **members.open}, both(members.out))


def _has(members: Expansion, code: Code) -> bool | None:
    """Whether a code is in a set, by its code system as it is written or by the canonical address of that."""
    found = members.has((code.system, code.code))
    known = alias_of(code.system) if found is not True else None
    return found if known is None else any_of((found, members.has((known, code.code))))


def any_of(answers: Any) -> bool | None:
    """Kleene `or` over answers."""
    found: bool | None = False
    for answer in answers:
        if answer:
            return True
        if answer is None:
            found = None
    return found


def listed(value: Any) -> list[Code | None]:
    """The codes in a code, a concept, or a list of either."""
    if value.__class__ is list:
        return [code for item in value for code in listed(item)]
    return list(codes_of(value)) if value.__class__ in (Code, Concept) else []


def shown(value_set: ValueSet) -> str:
    """A value set as messages name it."""
    key = f"{value_set.id}|{value_set.version}" if value_set.version else str(value_set.id)
    return f"{value_set.name!r} ({key})" if value_set.name else key

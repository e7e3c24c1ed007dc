"""Which Patients are one person: created under one condition, replaced by another, or linked to each other (FHIR R4: http.html#ccreate, patient.html#linking).

A Patient with a `replaced-by` link, and one whom another `replaces`, must no longer be used: there is no candidate but the one at the end of the chain. `refer` and
`seealso` link Patients that are in use and tell of one person. Either way records of the person stand with several Patients. They count for one of them only where
merging is asked for; else what the others hold is known to be missing for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.linking import Links, problem_of
from fhir_eligibility.data.records.gaps import EVERY, Gap
from fhir_eligibility.data.records.identity import contradiction, on_a_server
from fhir_eligibility.data.records.in_doubt import Doubtful, InDoubt
from fhir_eligibility.data.records.members import dicts_in
from fhir_eligibility.data.records.record_versions import distinct_names
from fhir_eligibility.data.records.sources import Loaded
from fhir_eligibility.data.records.subjects import Names

REPLACED_BY, REPLACES, REFER, SEE_ALSO = "replaced-by", "replaces", "refer", "seealso"
_MERGE = "--merge-linked counts the records of both for one patient (in Python merge_linked=True)"
_MEND = "mend Patient.link"


class Persons(Struct):
    """What is known of the Patients of some data, each by its key.

    `same` are those that count for another. `gone` are those that are no candidates; where records of a patient stand with another, or may, `gaps` says so.
    Of patients `in_doubt` nothing can be decided.
    """

    same: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    gaps: dict[str, list[Gap]] = field(default_factory=dict)
    in_doubt: dict[str, list[InDoubt]] = field(default_factory=dict)

    def of(self, key: str) -> str:
        """The patient for whom records of a patient count."""
        while key in self.same:
            key = self.same[key]
        return key

    def bearing(self, keys: Iterable[str]) -> list[str]:
        """The patients that several who bear one name come to; one who is no candidate only where nobody else bears it."""
        found = list(dict.fromkeys(map(self.of, keys)))
        return [key for key in found if key not in self.gone] or found


def links_in(patient: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The links of a Patient: the type of each, and the reference to the other."""
    for link in dicts_in(patient.get("link")):
        yield str(link.get("type")), link.get("other")


def is_replaced(patient: Mapping[str, Any]) -> bool:
    """Whether a Patient says that another must be used."""
    return any(kind == REPLACED_BY for kind, _ in links_in(patient))


def persons_of(
    described: Mapping[str, Loaded],
    links_of: Callable[[Loaded, list[Any]], Links],
    names: Names,
    versions: Callable[[str], Sequence[Loaded]],
    on_problem: Callable[[Problem], None],
    *,
    merge: bool,
    whole: bool = True,
) -> Persons:
    """Who is one person of the `described` Patients, by key; `links_of` tells whom a reference of theirs means, `versions` in which
    versions a Patient was read. What is found is reported.

    Without `whole` there are Patients besides those at hand.
    """
    people = Persons()
    if any(loaded.condition is not None for loaded in described.values()):
        _conditional(people, described, names, on_problem)
    for key in described:
        found = two_persons(versions(key)) if not on_a_server(key) else None
        if found is not None:
            on_problem(found[0])
            people.in_doubt[key] = [found[1]]
    if any(loaded.resource is not None and loaded.resource.get("link") for loaded in described.values()):
        _Linked(people, described, on_problem, merge, whole).find(links_of)
    for key in people.same:
        target = people.of(key)
        people.in_doubt.setdefault(target, []).extend(people.in_doubt.get(key, ()))
        people.gaps.setdefault(target, []).extend(people.gaps.get(key, ()))
    return people


def two_persons(versions: Sequence[Loaded]) -> tuple[Problem, InDoubt] | None:
    """The problem of an id that Patients of different files have who cannot be one person, and the doubt that it leaves, whichever of them is the newest."""
    for number, one in enumerate(versions):
        for other in versions[:number]:
            if one.file == other.file or one.resource is None or other.resource is None:
                continue
            differ = contradiction(other.resource, one.resource)
            if differ is not None:
                shown = distinct_names([other.file, one.file])
                why = (
                    f"{one.name} differs in {differ} in {shown[other.file]} and {shown[one.file]}: "
                    "these may be two persons of two sources, and whose the records are cannot be told"
                )
                names: dict[str, Any] = {"patient": one.name, "type": "Patient", "element": f"Patient.{differ}"}
                hint = "ids are unique in one source only: screen sources apart, or make their ids differ"
                problem = problem_of(one, "same-id", why, hint=hint, **names)
                return problem, InDoubt(Doubtful.PERSON, None, why)
    return None


def _conditional(
    people: Persons, described: Mapping[str, Loaded], names: Names, on_problem: Callable[[Problem], None]
) -> None:
    """Patients that are only created where no other is found are that other."""
    by_condition: dict[str, list[str]] = {}
    for key, loaded in described.items():
        if loaded.condition is not None:
            by_condition.setdefault(loaded.condition, []).append(key)
    for condition, keys in by_condition.items():
        found = [key for key in names.keys(condition) if key in described and described[key].condition is None]
        if len(found) > 1:
            continue  # which of them a server would take, nobody can tell
        target = found[0] if found else keys[0]
        for key in keys:
            if key != target:
                people.same[key] = target
                message = f"{_named(key, described)} is only to be created if there is no such patient, and {_named(target, described)} is one: it counts as that"
                element = "Bundle.entry.request"
                where = described[key]
                on_problem(_problem(where, "same-patient", message, key, target, described, element, warning=True))


class _Linked(Struct):
    """Goes by the links of Patients."""

    people: Persons
    described: Mapping[str, Loaded]
    on_problem: Callable[[Problem], None]
    merge: bool
    whole: bool
    replaced: dict[str, dict[str, Loaded]] = field(default_factory=dict)
    """Who was replaced by whom, with the Patient that says so."""
    others: dict[tuple[str, str], str] = field(default_factory=dict)
    """The links of other types."""
    places: dict[str, int] = field(default_factory=dict)

    def find(self, links_of: Callable[[Loaded, list[Any]], Links]) -> None:
        """All that links tell."""
        for key, loaded in self.described.items():
            for kind, other in links_in(loaded.resource or {}):
                links = links_of(loaded, [other])
                targets = links.keys + [target for target, _ in links.perhaps if target in self.described]
                if not targets and not links.elsewhere and (self.whole or kind == REPLACED_BY):
                    self._nobody(key, loaded, kind, links)
                for target in targets:
                    self._note(self.people.of(key), self.people.of(target), kind, loaded)
        for key in list(self.replaced):
            self._replaced(key)
        self._in_use()

    def _note(self, key: str, target: str, kind: str, loaded: Loaded) -> None:
        if key == target:
            return
        if kind == REPLACED_BY:
            self.replaced.setdefault(key, {}).setdefault(target, loaded)
        elif kind == REPLACES:
            self.replaced.setdefault(target, {}).setdefault(key, loaded)
        elif kind == REFER or (target, key) not in self.others:
            self.others[key, target] = kind

    def _nobody(self, key: str, loaded: Loaded, kind: str, links: Links) -> None:
        """A link that leads to no patient of the data."""
        shown = ", ".join(asked.shown for asked, _ in links.wrong) or ", ".join(
            asked.shown for _, asked in links.perhaps
        )
        message = (
            f"{self._name(key)} is linked ({kind}) to {shown or 'nobody'}, and no patient of the data is called so"
        )
        if kind == REPLACED_BY:
            self.people.gone.add(key)
            message += "; it must no longer be used, and there is no verdict"
        self._tell(loaded, "patient-linked", message, key, key, warning=kind != REPLACED_BY)

    # -- replaced

    def _ends(self, key: str) -> tuple[set[str], set[str]]:
        """The patients at the ends of the chains from a patient who was replaced, and all on the way; no ends where it goes in a circle."""
        ends: set[str] = set()
        seen: set[str] = set()
        waiting = [key]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            following = self.replaced.get(one)
            if following is None:
                ends.add(one)
            else:
                waiting.extend(following)
        return ends, seen

    def _replaced(self, key: str) -> None:
        """What becomes of a patient who was replaced."""
        loaded = self.described.get(key) or next(iter(self.replaced[key].values()))
        ends, seen = self._ends(key)
        listed = sorted(ends, key=self._order)
        if not ends:
            names = " and ".join(self._name(one) for one in sorted(seen, key=self._order))
            why = f"{names} are each replaced by the other (Patient.link): which of them is in use, nobody can tell"
            self.people.in_doubt.setdefault(key, []).append(InDoubt(Doubtful.PERSON, None, why))
            self._tell(loaded, "patient-replaced", why, key, key, hint=_MEND)
            return
        if len(ends) > 1:
            names = " and ".join(map(self._name, listed))
            message = f"{self._name(key)} was replaced by several patients, {names} (Patient.link): there is no verdict"
            self.people.gone.add(key)
            for end in listed:
                self._gap(end, f"records of {self._name(key)}, whom it and others replaced, may be this patient's")
                text = f"{message}, and whether its records are those of {self._name(end)} cannot be told"
                self._tell(loaded, "patient-replaced", text, key, end, hint=_MEND)
            return
        (end,) = listed
        if self.merge:
            self.people.same[key] = end
            message = f"{self._name(key)} was replaced by {self._name(end)} (Patient.link): it counts as that"
            self._tell(loaded, "same-patient", message, key, end, warning=True)
            return
        self.people.gone.add(key)
        message = f"{self._name(key)} was replaced by {self._name(end)} (Patient.link): there is no verdict, and its records do not count for {self._name(end)}"
        self._gap(end, f"records of {self._name(key)}, whom this patient replaced, do not count")
        self._tell(loaded, "patient-replaced", message, key, end, hint=_MERGE)

    # -- in use, and linked

    def _in_use(self) -> None:
        """Patients that are in use and linked to each other."""
        together: dict[str, str] = {}

        def first(key: str) -> str:
            while key in together:
                key = together[key]
            return key

        sources: set[str] = set()
        pairs: list[tuple[str, str]] = []
        for (one, other), kind in self.others.items():
            key, target = self.people.of(one), self.people.of(other)
            if key == target or key in self.people.gone or target in self.people.gone:
                continue
            if target not in self.described or key not in self.described:
                if not self.whole:
                    continue
                message = f"{self._name(key)} is linked ({kind}) to {self._name(target)}, whom no Patient resource of the data describes"
                loaded = self.described.get(key) or self.described[one]
                self._tell(loaded, "patient-linked", message, key, key, warning=True)
                continue
            differ = contradiction(self.described[key].resource or {}, self.described[target].resource or {})
            if self.merge and differ is None:
                pairs.append((key, target))
                if kind == REFER and self.others.get((other, one)) != REFER:
                    sources.add(key)
                if first(key) != first(target):
                    together[first(target)] = first(key)
                continue
            self._linked(key, target, kind, differ)
        members: dict[str, list[str]] = {}
        for key in dict.fromkeys(key for pair in pairs for key in pair):
            members.setdefault(first(key), []).append(key)
        for keys in members.values():
            keys.sort(key=lambda key: (key in sources, self._order(key)))
            for key in keys[1:]:
                self.people.same[key] = keys[0]
                message = f"{self._name(key)} and {self._name(keys[0])} are one person (Patient.link): {self._name(key)} counts as {self._name(keys[0])}"
                self._tell(self.described[key], "same-patient", message, key, keys[0], warning=True)

    def _linked(self, key: str, target: str, kind: str, differ: str | None) -> None:
        """Two that stay two."""
        message = f"{self._name(key)} and {self._name(target)} are said to be one person (Patient.link, {kind})"
        hint = _MERGE
        if self.merge:
            message += f", but differ in {differ}: they are not merged"
            hint = _MEND
        for one, other in ((key, target), (target, key)):
            self._gap(one, f"records of {self._name(other)}, who is said to be the same person, do not count")
            text = f"{message}; what is known of the other does not count"
            self._tell(self.described[one], "patient-linked", text, one, one, hint=hint)

    # -- telling

    def _gap(self, key: str, why: str) -> None:
        self.people.gaps.setdefault(key, []).append(Gap(EVERY, why))

    def _name(self, key: str) -> str:
        return _named(key, self.described)

    def _order(self, key: str) -> tuple[int, str]:
        """The order of the data; who is not described comes last."""
        if not self.places:
            self.places = {known: place for place, known in enumerate(self.described)}
        return self.places.get(key, len(self.places)), key

    def _tell(
        self,
        loaded: Loaded,
        code: str,
        message: str,
        key: str,
        patient: str,
        *,
        warning: bool = False,
        hint: str | None = None,
    ) -> None:
        element = "Patient.link"
        self.on_problem(
            _problem(loaded, code, message, key, patient, self.described, element, warning=warning, hint=hint)
        )


def _problem(
    loaded: Loaded,
    code: str,
    message: str,
    key: str,
    patient: str,
    described: Mapping[str, Loaded],
    element: str,
    *,
    warning: bool,
    hint: str | None = None,
) -> Problem:
    names = {
        "resource": _named(key, described),
        "patient": _named(patient, described),
        "type": "Patient",
        "element": element,
    }
    return problem_of(loaded, code, message, warning=warning, hint=hint, **names)


def _named(key: str, described: Mapping[str, Loaded]) -> str:
    """How a message calls a patient."""
    loaded = described.get(key)
    if loaded is None:
        return key
    return loaded.name if loaded.name != "Patient" else loaded.full_url or key

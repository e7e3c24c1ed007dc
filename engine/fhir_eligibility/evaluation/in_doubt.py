"""Criteria over records in doubt: an answer counts only where it is the same whatever these records say.

The criterion is run again with other forms of the records: another version, no such record, values that nobody knows. What it does not look at makes no
difference, and what is the same in all of them is certain. Where there are more combinations than can be tried, the answer is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, product
from math import prod
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.compiler.criteria.library import LoadedLibrary
from fhir_eligibility.compiler.criteria.read_elements import ReadElements, elements_of_define, read_elements
from fhir_eligibility.compiler.criteria.rules import Rule
from fhir_eligibility.compiler.runtime.retrieving import has_profile
from fhir_eligibility.data.patients.compartment import Compartment, SharedResources
from fhir_eligibility.data.records.in_doubt import Doubtful, InDoubt, modifiers_in
from fhir_eligibility.evaluation.cql_patient import CompartmentPatient
from fhir_eligibility.evaluation.other_forms import with_unknown, without_values
from fhir_eligibility.evaluation.tracing import DoubtKey, PatientEnvironment, Trace

Resource = dict[str, Any]
WORLDS = 64
ROUNDS = 4
REASONS = {
    Doubtful.VERSIONS: Reason.CONFLICTING_RECORDS,
    Doubtful.PERSON: Reason.CONFLICTING_RECORDS,
    Doubtful.MODIFIER: Reason.UNKNOWN_MODIFIER,
    Doubtful.PART: Reason.PARTIAL_RECORD,
}
_QICORE = "http://hl7.org/fhir/us/qicore/StructureDefinition/"
MODIFIERS_OF_PROFILES = {f"{_QICORE}qicore-observationcancelled": frozenset((f"{_QICORE}qicore-notDone",))}
"""The modifier extensions that profiles define, by the addresses of the profiles (QI-Core 6.0.0: QICore Observation Cancelled)."""
_IDENTITY = frozenset(("resourceType", "id"))


class Open(Struct, frozen=True):
    """A doubt that a criterion may hang on, with the other forms of the record that it has to be tried with (none: it cannot be decided at all)."""

    doubt: InDoubt
    forms: tuple[Resource | None, ...]
    lacks: str = ""

    @property
    def why(self) -> tuple[Reason, str]:
        """The reason why a criterion that hangs on it is unknown, and a sentence."""
        return REASONS[self.doubt.kind], self.doubt.why + self.lacks


Chosen = tuple[tuple[Open, Resource | None], ...]
"""Records in doubt, each with the form that it is taken in."""


class WorldAnswer(Struct, frozen=True):
    """What a criterion or a define comes to in one world, the records, by `id()`, that some condition of it tried or kept (None: that cannot be told), and the
    doubts about what references led to."""

    value: Any
    seen: frozenset[int] | None
    reached: Sequence[InDoubt] = ()


Run = Callable[[Compartment], WorldAnswer]


class Certainty:
    """Tells which answers hang on records in doubt, for criteria over patients of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._reads: dict[int, ReadElements] = {}
        self._reads_of_defines: dict[tuple[int, str, bool], ReadElements] = {}

    def why_in_doubt(
        self,
        rule: Rule,
        value: bool,
        environment: PatientEnvironment,
        answer: Callable[[PatientEnvironment], bool | None],
    ) -> tuple[Reason, str] | None:
        """Why the answer of a rule is not certain, None where it is. `answer` gives its answer over other data."""
        reads = self._reads.get(id(rule))
        if reads is None:
            reads = self._reads[id(rule)] = read_elements(rule)

        def run(compartment: Compartment) -> WorldAnswer:
            other = _Watched(compartment, now=environment.moment, variables=environment.variables, run=environment.run)
            try:
                return WorldAnswer(answer(other), other.seen(), other.doubts())
            finally:
                other.release()

        return self._why(value, environment.doubts(), environment.compartment, reads, run)

    def of_define(
        self,
        loaded: LoadedLibrary,
        define: str,
        value: Any,
        patient: CompartmentPatient,
        evaluate: Callable[[CompartmentPatient], Any],
    ) -> str | None:
        """Why the value of a define of a library is not certain for a patient, None where it is. `evaluate` gives it over other data, in a form to compare."""
        doubts = patient.doubts()
        if not doubts:
            return None
        key = id(loaded), define, patient.ignore_profiles
        reads = self._reads_of_defines.get(key)
        if reads is None:
            reads = self._reads_of_defines[key] = elements_of_define(loaded.compiled, define)
            if patient.ignore_profiles:
                reads.profiles.clear()  # a retrieve of a profile takes all records of the type

        def run(compartment: Compartment) -> WorldAnswer:
            other = CompartmentPatient(patient.run, compartment)
            return WorldAnswer(evaluate(other), None, other.doubts())

        why = self._why(value, doubts, patient.compartment, reads, run)
        return None if why is None else f"{why[0]}: {why[1]}"

    def _why(
        self, value: Any, doubts: Iterable[InDoubt], compartment: Compartment, reads: ReadElements, run: Run
    ) -> tuple[Reason, str] | None:
        later: list[InDoubt] = []

        def watched(world: Compartment) -> WorldAnswer:
            found = run(world)
            later.extend(found.reached)
            return found

        known = {_identity(doubt): doubt for doubt in doubts}
        for _ in range(ROUNDS):
            found = sorted(self._open(known.values(), reads), key=lambda one: one.why)
            why = _why_in_doubt(value, compartment, found, watched)
            number = len(known)
            # in another form a record may refer to others that are in doubt
            for doubt in later:
                known.setdefault(_identity(doubt), doubt)
            if why is not None or len(known) == number:
                return why
        reason, sentence = found[0].why
        return reason, f"records in doubt refer to others that are: {sentence}"

    def _open(self, doubts: Iterable[InDoubt], reads: ReadElements) -> Iterator[Open]:
        """The doubts about records that a criterion may look at."""
        for doubt in doubts:
            record = doubt.record
            if record is None:
                yield Open(doubt, ())
                continue
            kind = str(record.get("resourceType"))
            if not reads.reads(kind) and not reads.reached:
                continue
            match doubt.kind:
                case Doubtful.MODIFIER:
                    yield from _modified(doubt, record, reads, self._model)
                case Doubtful.PART:
                    yield from _partial(doubt, record, reads, self._model)
                case _:
                    forms = _that_differ(record, self._with_marked(doubt.forms), reads.elements(kind))
                    if forms or not doubt.forms:
                        yield Open(doubt, forms)

    def _with_marked(self, forms: Sequence[Resource | None]) -> list[Resource | None]:
        """Other versions of a record, and of those with a modifier that is not known what it leaves."""
        found = list(forms)
        for form in forms:
            if form is not None and any(True for _ in modifiers_in(form)):
                found += (None, without_values(form, self._model))
        return found


def _identity(doubt: InDoubt) -> tuple[int, Doubtful]:
    return id(doubt.record), doubt.kind


class _Watched(PatientEnvironment):
    """Remembers which records the conditions of a criterion tried or kept, in all of its runs."""

    def __init__(self, compartment: Compartment, **more: Any) -> None:
        super().__init__(compartment, **more)
        self._traces: list[Trace] = []

    def begin(self, keep: frozenset[DoubtKey] | None = frozenset()) -> Trace:
        """As of any environment."""
        trace = super().begin(keep)
        self._traces.append(trace)
        return trace

    def seen(self) -> frozenset[int]:
        """The records, by `id()`."""
        found: set[int] = set()
        for trace in self._traces:
            found.update(trace.rows)
            found.update(id(doubt.row) for doubt in trace.doubts.values())
        return frozenset(found)


def _why_in_doubt(value: Any, compartment: Compartment, found: list[Open], run: Run) -> tuple[Reason, str] | None:
    for one in found:
        if not one.forms:
            return one.why
    if _worlds(found) > WORLDS:
        found = _that_matter(found, compartment, run)
    tried: set[frozenset[tuple[int, int]]] = set()
    for chosen in _choices(found):
        key = frozenset((id(one.doubt.record), id(form)) for one, form in chosen)
        if key not in tried:
            tried.add(key)
            if run(in_world(compartment, chosen)).value != value:
                return chosen[0][0].why
    if _worlds(found) > WORLDS:
        reason, sentence = next(one for one in found if one.doubt.kind is not Doubtful.PART).why
        return reason, f"{len(found)} records are in doubt, too many to try every way: {sentence}"
    return None


def _worlds(found: Sequence[Open]) -> int:
    """How many worlds there are; of records that are a part, all have their elements left out, or none."""
    parts = any(one.doubt.kind is Doubtful.PART for one in found)
    return prod(len(one.forms) + 1 for one in found if one.doubt.kind is not Doubtful.PART) * (1 + parts)


def _that_differ(
    record: Resource, forms: Iterable[Resource | None], elements: frozenset[str] | None
) -> tuple[Resource | None, ...]:
    """The forms of a record that a criterion can tell from it, by the elements that it reads."""
    if elements is None:
        return tuple(forms)
    seen = [_read_of(record, elements)]
    out: list[Resource | None] = []
    for form in forms:
        if form is None:
            out.append(None)
            continue
        read = _read_of(form, elements)
        if read not in seen:
            seen.append(read)
            out.append(form)
    return tuple(out)


def _read_of(record: Resource, elements: frozenset[str]) -> Resource:
    return {name: value for name, value in record.items() if name in _IDENTITY or _is_one_of(name, elements)}


def _is_one_of(name: str, elements: frozenset[str]) -> bool:
    """Whether a JSON name is that of an element, whatever type a choice is of."""
    name = name.removeprefix("_")
    return name in elements or any(
        name.startswith(element) and name[len(element) : len(element) + 1].isupper() for element in elements
    )


def _modified(doubt: InDoubt, record: Resource, reads: ReadElements, model: Model) -> Iterator[Open]:
    kind = str(record.get("resourceType"))
    elements = reads.elements(kind)
    if elements is not None:
        if not elements.isdisjoint(("modifierExtension", "implicitRules")):
            return  # the author reads what the modifiers say
        if doubt.marked and not any(_is_one_of(name, elements) for name in doubt.marked):
            return
    if _defined_by_profiles(record, reads):
        return
    blank = without_values(record, model)
    yield Open(doubt, (blank,) if kind == "Patient" else (None, blank))


def _defined_by_profiles(record: Resource, reads: ReadElements) -> bool:
    """Whether a record is only looked at by retrieves of profiles that define all modifiers in it: the author knows of them."""
    asked = reads.profiles.get(str(record.get("resourceType")))
    if not asked or None in asked or reads.everything:
        return False
    claimed = [profile for profile in asked if profile is not None and has_profile(record, profile)]
    if not claimed:
        return False
    return all(
        path == "modifierExtension" and all(url in MODIFIERS_OF_PROFILES.get(profile, ()) for profile in claimed)
        for path, url in modifiers_in(record)
    )


def _partial(doubt: InDoubt, record: Resource, reads: ReadElements, model: Model) -> Iterator[Open]:
    kind = str(record.get("resourceType"))
    elements = reads.elements(kind)
    if elements is None:
        yield Open(doubt, (), ", and the criterion may look at any element of it")
        return
    for name in sorted(reads.found_by.get(kind, ())):
        element = model.element(kind, name)
        names = [json for json, _ in element.json_names] if element is not None else [name]
        if not any(record.get(json) for json in names):
            yield Open(doubt, (), f", without `{name}`: whether it is what the criterion asks for cannot be told")
            return
    filled = with_unknown(record, reads.paths.get(kind, ()), model)
    if filled is not record:
        lacking = sorted({name.removeprefix("_") for name in filled if name not in record})
        shown = ", ".join(f"`{name}`" for name in lacking[:3]) + (" and more" if len(lacking) > 3 else "")
        lacks = f", without {shown}" if shown else ", without elements below others"
        yield Open(doubt, (filled,), f"{lacks}, which may have been left out")


# -- worlds


def _choices(found: Sequence[Open]) -> Iterator[Chosen]:
    """Which records to take in another form, and in which: each alone first; then all combinations where they are few, else all of them, and all but one."""
    for one in found:
        for form in one.forms:
            yield ((one, form),)
    parts: Chosen = tuple((one, one.forms[0]) for one in found if one.doubt.kind is Doubtful.PART)
    others = [one for one in found if one.doubt.kind is not Doubtful.PART]
    if _worlds(found) <= WORLDS:
        for size in range(len(others) + 1):
            for some in combinations(others, size):
                for forms in product(*(one.forms for one in some)):
                    chosen = tuple(zip(some, forms, strict=True))
                    yield from (whole for whole in (chosen, (*chosen, *parts)) if whole)
        return
    for together in _all_at_once(found):
        yield together
        if len(found) <= WORLDS:
            yield from (together[:left] + together[left + 1 :] for left in range(len(found)))


def _all_at_once(found: Sequence[Open]) -> Iterator[Chosen]:
    """All records in their first other form, in their second, and so on."""
    for number in range(max((len(one.forms) for one in found), default=0)):
        yield tuple((one, one.forms[min(number, len(one.forms) - 1)]) for one in found)


def _that_matter(found: list[Open], compartment: Compartment, run: Run) -> list[Open]:
    """Of many records those that some condition tries or keeps, in whatever form."""
    left = {id(one): one for one in found if one.doubt.record is not compartment.patient}
    kept = [one for one in found if id(one) not in left]

    def look(chosen: Chosen) -> None:
        seen = run(in_world(compartment, chosen)).seen or frozenset()
        forms = {id(one): form for one, form in chosen}
        for key, one in list(left.items()):
            form = forms.get(key, one.doubt.record)
            if form is not None and id(form) in seen:
                kept.append(left.pop(key))

    if run(compartment).seen is None:
        return found
    look(())
    for chosen in _all_at_once(found):
        look(chosen)
    looked = 0
    while looked < len(kept) <= WORLDS and left:
        one = kept[looked]
        looked += 1
        for form in one.forms:
            look(((one, form),))
    return kept if len(kept) <= WORLDS else found


def in_world(compartment: Compartment, chosen: Chosen) -> Compartment:
    """A patient's data with some records in another form."""
    choice = {id(one.doubt.record): form for one, form in chosen}
    originals: dict[int, Resource] = {}
    origins = dict(compartment.origins)
    patient = compartment.patient

    def taken(record: Resource) -> Resource | None:
        form = choice[id(record)]
        if form is not None:
            originals[id(form)] = record
            origin = compartment.origin(record)
            if origin is not None:
                origins.setdefault(id(form), origin)
        return form

    def replaced(records: list[Resource]) -> list[Resource]:
        if not any(id(record) in choice for record in records):
            return records
        forms = (taken(record) if id(record) in choice else record for record in records)
        return [form for form in forms if form is not None]

    def find(reference: str, holder: Resource | None) -> Resource | None:
        if compartment.find is None:
            return None
        found = compartment.find(reference, originals.get(id(holder), holder))
        return found if found is None or id(found) not in choice else taken(found)

    def others(asked: Resource | str) -> Compartment | None:
        if compartment.others is None:
            return None
        other = compartment.others(asked if isinstance(asked, str) else originals.get(id(asked), asked))
        return None if other is None else in_world(other, chosen)

    if patient is not None and id(patient) in choice:
        patient = taken(patient)
    resources = {kind: replaced(records) for kind, records in compartment.resources.items()}
    shared = compartment.shared
    if shared is not None:
        by_type = {kind: replaced(records) for kind, records in shared.by_type.items()}
        if any(by_type[kind] is not records for kind, records in shared.by_type.items()):
            shared = SharedResources(by_type, origins, shared)
    return replace(
        compartment,
        patient=patient,
        resources=resources,
        origins=origins,
        find=find,
        others=None if compartment.others is None else others,
        shared=shared,
        doubts=(),
        _indexes={},
    )

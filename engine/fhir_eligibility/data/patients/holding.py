"""What is held for a patient: the Patient and the records about them, each in the forms that it may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct, field

from fhir_eligibility.data.records.identity import address_of, contradiction, on_a_server
from fhir_eligibility.data.records.in_doubt import Doubtful, InDoubt, marks_of
from fhir_eligibility.data.records.record_versions import Counted
from fhir_eligibility.data.records.sources import Loaded


class Held(Struct):
    """A record as a patient has it: the forms that it may have, the first of which is used, whether the patient may have no such record, and why."""

    forms: list[Loaded]
    perhaps_gone: bool = False
    why: str = ""
    unknown: bool = False
    """Whether it may say anything else."""

    def of(self, forms: list[Loaded]) -> Held:
        """The same for a patient whom only some of the forms are about."""
        return Held(forms, self.perhaps_gone or len(forms) < len(self.forms), self.why, self.unknown)

    def merge(self, more: Held, counted: Counted) -> None:
        """Take in what else bears the same name; `counted` is what counts of the forms of both."""
        self.perhaps_gone = self.perhaps_gone or more.perhaps_gone or counted.perhaps_gone
        self.unknown = self.unknown or more.unknown or counted.unknown
        self.why = counted.why or self.why or more.why
        self.forms = list(counted.forms) or self.forms


class CohortPatient(Struct):
    """A patient, known by a key, with the resources about them; `place` is where they first appear."""

    key: str
    loaded: Loaded | None
    place: int
    records: list[Held] = field(default_factory=list)
    forms: Counted | None = None
    """What the Patient may be, where that is in doubt."""
    like: Loaded | None = None
    """The Patient that counts as this one, where no resource describes this one."""

    @property
    def resources(self) -> list[Loaded]:
        """The records about the patient, each in the form that is used."""
        return [held.forms[0] for held in self.records]

    def join_addresses(
        self, name_for: Callable[[Loaded], str | None], count: Callable[[Sequence[Loaded]], Counted]
    ) -> None:
        """Put together what the patient has without an address and at an address of the same type and id, where there is only one such address.

        `name_for` gives the `Type/id` of what has no address, `count` what counts of several versions.
        """
        plain: dict[str, Held] = {}
        at: dict[str, list[Held]] = {}
        for held in self.records:
            loaded = held.forms[0]
            if on_a_server(address_of(loaded.full_url) or ""):
                at.setdefault(loaded.name, []).append(held)
            else:
                name = name_for(loaded)
                if name is not None:
                    plain[name] = held
        for name in sorted(plain.keys() & at.keys()):
            if len(at[name]) == 1:
                known, (other,) = plain[name], at[name]
                known.merge(other, count([*known.forms, *other.forms]))
                self.records = [held for held in self.records if held is not other]

    def doubts(self) -> Iterator[InDoubt]:
        """What is in doubt about the patient."""
        if self.forms is not None and self.loaded is not None:
            yield from doubts_of_person(self.forms)
        for loaded in ([self.loaded] if self.loaded is not None else []) + self.resources:
            if loaded.marked and loaded.resource is not None:
                yield from marks_of(loaded.resource)
        for held in self.records:
            yield from doubts_of(held)


def doubts_of(held: Held | Counted) -> list[InDoubt]:
    """The doubt about a record that may be one thing or another, if there is one; the first of the forms is the one that is used."""
    listed = [one.resource for one in held.forms]
    if not held.why or not listed:
        return []
    forms = [*listed[1:], *([None] if held.perhaps_gone or held.unknown else [])]
    if held.unknown and listed[0] is not None and listed[0].get("resourceType") == "Patient":
        forms = []  # there is a Patient, and nobody knows what is said of it
    # what a record says now that was changed is missing, as one more record (`fhir_eligibility.data.records.deletions.patched`)
    return [InDoubt(Doubtful.VERSIONS, listed[0], held.why, tuple(forms))]


def doubts_of_person(counted: Counted) -> Iterator[InDoubt]:
    """The doubt about a Patient. Where it may have been deleted, or two persons may have the id, nothing about the patient can be told."""
    listed = [one.resource for one in counted.forms if one.resource is not None]
    differ = next((found for one in listed[1:] if (found := contradiction(listed[0], one))), None)
    if counted.perhaps_gone:
        yield InDoubt(Doubtful.PERSON, None, counted.why)
    elif differ is not None:
        why = f"{counted.why}; they differ in {differ}, so that they may be two persons, and whose the records are cannot be told"
        yield InDoubt(Doubtful.PERSON, None, why)
    else:
        yield from doubts_of(counted)

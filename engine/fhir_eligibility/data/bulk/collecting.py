"""Which resources of an export are kept, and for which patient: every resource that is read passes here once.

What cannot matter by the plan is counted and left unparsed; what is kept is decoded as far as the plan asks, which tells who it is about.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from fhir_eligibility.artifacts.references import Odd, plain_id
from fhir_eligibility.data.bulk.bundle_patients import BundlePatients, group_of_address
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.decoding import Decoders, FactDecoder
from fhir_eligibility.data.bulk.element_values import values_at
from fhir_eligibility.data.bulk.fingerprints import Fingerprints
from fhir_eligibility.data.bulk.needles import Needles
from fhir_eligibility.data.bulk.records import (
    AnyShelf,
    Position,
    ReadRecord,
    key_of,
    name_group,
    number_of,
    orphan_group,
)
from fhir_eligibility.data.bulk.tracing import BlockTrace
from fhir_eligibility.data.files.json_text import BAD_JSON, check_encoding, check_whole, hint_for, syntax_message
from fhir_eligibility.data.files.other_lines import OtherLines
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.persons import links_in
from fhir_eligibility.data.records.identity import (
    NO_HOME,
    address_of,
    on_a_server,
    shared_types,
    stands_alone,
    text_of_id,
)
from fhir_eligibility.data.records.marks import may_be_marked, test_patient
from fhir_eligibility.data.records.oddities import odd_ids
from fhir_eligibility.data.records.record_shape import (
    DAMAGED,
    DAMAGED_HINT,
    TYPE,
    damage_of,
    oddness_of,
    of_any_type,
    states_another_type,
    type_twice,
)
from fhir_eligibility.data.records.remains import named_in
from fhir_eligibility.data.records.resource_types import CODE as UNKNOWN_TYPE
from fhir_eligibility.data.records.resource_types import unknown_type
from fhir_eligibility.data.records.subjects import Asked, asked_of, names_no_patient, names_nobody

# no percent sign, behind which another id may stand
_PLAIN_REFERENCE = re.compile(r"Patient/([A-Za-z0-9\-._~:@!$&'()*+;=]+)")
CONTAINERS = frozenset(("Bundle", "Parameters", "OperationOutcome"))
"""Resources that hold others, or say that data is missing: they are opened."""
THEN_ID = b'","id":"'
BEGINNING = rb'\s*\{\s*"resourceType"\s*:\s*"%s"'
_KIND = re.compile(BEGINNING % b"([A-Za-z]+)")
ID = rb'\s*,\s*"id"\s*:\s*"([^"\\]+)"'


class TypeReader(Struct, frozen=True):
    """How resources of a type are looked at before anything of them is parsed."""

    kind: str
    unread: bool
    needles: Needles | None
    beginning: re.Pattern[bytes]
    decoder: FactDecoder
    first: tuple[str, ...]
    """The elements that say which patient a resource is about."""
    shared: bool
    """Whether resources of the type need not be about a patient."""
    container: bool
    """Whether resources of the type hold others; they are opened."""
    known: bool
    """Whether some version of FHIR has the type."""
    id_at: int
    """Where the id stands as a rule, counted from the name of the type."""

    def identifier(self, text: bytes | memoryview) -> bytes | None:
        """The id of a resource, None where it does not stand where it is expected."""
        match = self.beginning.match(text)
        return match[1] if match is not None else None


class Sifting(Protocol):
    """Sets lines aside (`fhir_eligibility.data.bulk.sifting`)."""

    def takes(
        self, collector: Collector, reader: TypeReader, raw: bytes | memoryview, file: int, offset: int, seen: bool
    ) -> bool:
        """Set a line aside; False, having done nothing, for one that is to be kept."""


class Collector:
    """Takes resources as they are read and keeps those that may matter."""

    def __init__(self, decoders: Decoders, shelf: AnyShelf, *, validate: bool = False, decoded: bool = False) -> None:
        """`validate` has every resource parsed; with `decoded` records are kept as facts."""
        self.decoders = decoders
        self.shelf = shelf
        self.validate = validate
        self.fingerprints: Fingerprints | None = None
        """Makes the digests of records, where they are kept."""
        self.sifter: Sifting | None = None
        """Sets lines aside whose patients may be taken over from an earlier run, where there is one."""
        self.trace: BlockTrace | None = None
        """Tells what blocks of the data come to, where a later run is to know them."""
        self.others: OtherLines | None = None
        """Takes what lines of the file that is being read are no resources, where not each of them is to be told."""
        self.look = False
        """Whether what is being read may be marked (`fhir_eligibility.data.records.marks`)."""
        self.collected = Collected()
        self._decoded = decoded
        self._shared: set[tuple[str | None, bytes]] = set()
        self._readers: dict[str, TypeReader] = {}
        self._known: dict[bytes, TypeReader] = {}
        self.known = self._known.get
        """How resources of a type are looked at, the type as it stands in the data; None where that was not asked yet."""

    def named(self, name: bytes) -> TypeReader:
        """How resources of a type are looked at; the type as it stands in the data."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self.reader(name.decode())
        return found

    def reader(self, kind: str) -> TypeReader:
        """How resources of a type are looked at."""
        found = self._readers.get(kind)
        if found is None:
            plan = self.decoders.plan.of(kind)
            shared = kind in shared_types(self.decoders.model)
            found = self._readers[kind] = TypeReader(
                kind,
                unread=plan is None and kind not in CONTAINERS,
                # of what all patients share every version must be at hand
                needles=Needles.of(plan) if plan is not None and not shared else None,
                beginning=re.compile(BEGINNING % re.escape(kind.encode("utf-8", "replace")) + ID),
                decoder=self.decoders.of(kind),
                first=tuple(dict.fromkeys(path.partition(".")[0] for path in self.decoders.subject_paths(kind))),
                shared=shared,
                container=kind in CONTAINERS,
                known=unknown_type(kind) is None,
                id_at=len(kind) + len(THEN_ID),
            )
        return found

    def offer(
        self,
        kind: str,
        raw: bytes,
        file: int,
        offset: int,
        entry: int,
        full_url: str | None,
        path: str,
        patients: BundlePatients | None = None,
    ) -> None:
        """Take in one resource whose type is named; `patients` are those of its bundle. What is passed over was proved to be whole."""
        reader = self.reader(kind)
        readable = reader.known and not reader.unread and not reader.container
        needed = readable and (reader.needles is None or reader.needles.found(raw) or may_be_marked(raw))
        self.look = True
        try:
            check_encoding(raw)
            if self.validate or not needed:
                check_whole(raw)
        except BAD_JSON as error:
            self.invalid(raw, path, offset, entry, error)
            return
        if not reader.known:
            self.unknown_type(reader, raw, path, offset, entry)
        elif needed or (readable and not self._see(reader, raw)):
            self.keep(reader, raw, file, offset, entry, full_url, path, patients=patients)
        elif raw.count(TYPE) > 1 and states_another_type(kind, raw):
            named = of_any_type(named_in(raw))
            self.problem(path, offset, entry, DAMAGED, type_twice(kind), hint=DAMAGED_HINT, **named)
        elif not (self.validate and self._is_odd(kind, raw, file, offset, entry, path)):
            self.collected.passed[kind] += 1

    def pass_over(self, numbers: Mapping[str, int], seen: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """Note how many resources of some types were passed over, and the ids of those that were looked at."""
        passed = self.collected.passed
        for kind, number in numbers.items():
            passed[kind] += number
        for kind, identifiers in seen:
            self.seen_ids(kind).extend(map(number_of, identifiers))

    def _see(self, reader: TypeReader, raw: bytes) -> bool:
        """Note the id of a resource that is passed over; False where its id is not where it is expected."""
        identifier = reader.identifier(raw)
        if identifier is None:
            return False
        self.seen_ids(reader.kind).append(number_of(identifier))
        return True

    def kept_ids(self, kind: str) -> array[int]:
        """Numbers of the ids kept of a type."""
        found = self.collected.kept.get(kind)
        if found is None:
            found = self.collected.kept[kind] = array("Q")
        return found

    def seen_ids(self, kind: str) -> array[int]:
        """Numbers of the ids seen of a type."""
        found = self.collected.seen.get(kind)
        if found is None:
            found = self.collected.seen[kind] = array("Q")
        return found

    def keep(
        self,
        reader: TypeReader,
        raw: bytes | memoryview,
        file: int,
        offset: int,
        entry: int,
        full_url: str | None,
        path: str,
        *,
        seen: bool = False,
        patients: BundlePatients | None = None,
    ) -> None:
        """Keep a resource for the patients that it is about.

        With `seen` its id was noted before; `patients` are as in `offer`.
        """
        if self.sifter is not None and entry < 0 and self.sifter.takes(self, reader, raw, file, offset, seen):
            return
        if self._is_odd(reader.kind, raw, file, offset, entry, path):
            return
        try:
            facts, compact = reader.decoder.packed(raw)
        except BAD_JSON as error:
            self.invalid(raw, path, offset, entry, error)
            return
        if self.look:
            self._note(facts, raw, offset, entry, path)
        self._place(reader, facts, compact, raw, file, offset, entry, full_url, seen=seen, patients=patients)

    def _is_odd(self, kind: str, raw: bytes | memoryview, file: int, offset: int, entry: int, path: str) -> bool:
        """Report what is wrong with the members of a resource; gives whether nobody can tell what it says, so that it is not used."""
        try:
            odd = oddness_of(kind, raw)
        except BAD_JSON as error:
            self.invalid(raw, path, offset, entry, error)
            return True
        if not odd:
            return False
        named = named_in(bytes(raw))
        damage = damage_of(odd)
        if damage is not None:
            if any(one.element.endswith("resourceType") for one in odd):
                named = of_any_type(named)
            self.problem(path, offset, entry, DAMAGED, damage, hint=DAMAGED_HINT, **named)
            return True
        for one in odd:
            self.collected.odd.add(one.message, file, named.get("resource", ""), "", offset, entry)
        return False

    def _note(self, facts: dict[str, Any], raw: bytes | memoryview, offset: int, entry: int, path: str) -> None:
        """Take in the marks of a resource, if it has some."""
        if may_be_marked(raw) and self.collected.noted.add(facts):
            where = {"file": path, "offset": offset, "entry": entry if entry >= 0 else None}
            self.collected.problems.append(test_patient(facts, where))

    def _place(
        self,
        reader: TypeReader,
        facts: dict[str, Any],
        compact: bool,
        raw: bytes | memoryview,
        file: int,
        offset: int,
        entry: int,
        full_url: str | None,
        *,
        seen: bool = False,
        patients: BundlePatients | None = None,
    ) -> None:
        """As `keep`, of a resource that is decoded."""
        kind = reader.kind
        collected = self.collected
        collected.used[kind] += 1
        if full_url is not None and ":" not in full_url:
            full_url = None  # no absolute URI, so it tells nothing apart
        written = facts.get("id")
        identifier = text_of_id(written)
        if identifier is not written and identifier is not None:
            facts = {**facts, "id": identifier}
        certain = facts.get("status") != "entered-in-error" and facts.get("verificationStatus") is None
        plain = certain and identifier is not None and (full_url is None or _ends_with(full_url, kind, identifier))
        home = patients.home if patients is not None else NO_HOME
        if reader.shared and names_no_patient(self._about(reader, facts)):
            text = bytes(raw)
            record = ReadRecord(
                "", file, offset, entry, kind, identifier, full_url, False, False, False, text, home=home
            )
            self._keep_nobodys(record, facts, patients)
            return
        if identifier is not None:
            number = key_of(identifier)
            self.kept_ids(kind).append(number)
            if not seen:
                self.seen_ids(kind).append(number)
        group: Any
        local = False
        condition: str | None = None
        if kind == "Patient":
            group, plain, local, condition = self._patient(
                facts, written, certain, plain, (file, offset, entry), full_url, patients
            )
        else:
            group = None
            first = reader.first
            subject = facts.get(first[0]) if len(first) == 1 else None
            if subject.__class__ is dict:
                reference = subject.get("reference")
                if reference.__class__ is str:
                    match = _PLAIN_REFERENCE.fullmatch(reference)
                    if match is not None:
                        group = match[1]
                    elif patients is not None:
                        group = patients.by_name.get(reference)
                        plain, local = plain and group is None, certain and group is not None
        if self._decoded:
            text, kept_facts = b"", facts
        else:
            text, kept_facts = reader.decoder.pack(facts) if compact else bytes(raw), None
        record = ReadRecord(
            group, file, offset, entry, kind, identifier, full_url, plain, local, compact, text, kept_facts, home,
            condition=condition,
        )  # fmt: skip
        if self.fingerprints is not None:
            record.digest = self.fingerprints.of_text(raw)
            record.regular = identifier is not None and reader.identifier(raw) == identifier.encode("utf-8", "replace")
        if group is not None:
            self.shelf.add(record)
        else:
            self._link(record, facts, patients)

    def _person(self, patient: dict[str, Any], group: str, patients: BundlePatients | None) -> None:
        """Note that a Patient may be one person with others: they are looked at together."""
        self.collected.persons += 1
        for _, other in links_in(patient):
            asked = asked_of(other)
            target = asked.group if asked is not None else None
            if asked is not None and asked.name is not None and patients is not None:
                target = patients.by_name.get(asked.name)
            if target is not None and target != group:
                self.collected.aliases.add((group, target))

    def _keep_nobodys(self, record: ReadRecord, facts: dict[str, Any], patients: BundlePatients | None) -> None:
        """Keep a resource that is about nobody, and for the patient of its bundle besides, where that stands for itself."""
        if self.trace is not None:
            self.trace.note_nobodys(record)
        if (record.full_url, record.raw) not in self._shared:
            self._shared.add((record.full_url, record.raw))
            self.collected.shared.append(record)
        if patients is not None and patients.only is not None and stands_alone(record.home) and record.id is not None:
            kept_facts = facts if self._decoded else None
            self.shelf.add(msgspec.structs.replace(record, group=patients.only, facts=kept_facts, own=True))

    def keep_again(self, raw: bytes, file: int, offset: int, entry: int, full_url: str | None, home: int) -> None:
        """Keep a resource that is about nobody, as an earlier run told: where it stands, and of which bundle it is."""
        if (full_url, raw) in self._shared:
            return
        reader = self.named(_KIND.match(raw)[1])  # type: ignore[index]
        facts, _ = reader.decoder.packed(raw)
        identifier, kind = text_of_id(facts.get("id")), reader.kind
        record = ReadRecord("", file, offset, entry, kind, identifier, full_url, False, False, False, raw, home=home)
        self._keep_nobodys(record, facts, None)

    def _patient(
        self,
        facts: dict[str, Any],
        written: Any,
        certain: bool,
        plain: bool,
        place: Position,
        full_url: str | None,
        patients: BundlePatients | None,
    ) -> tuple[str, bool, bool, str | None]:
        """The group of a Patient, whether it needs no closer look (`plain`, and `local` in its bundle), and the condition it was created under.

        `written` is the id as it stands in the data, `facts` has it as a text; by that alone the Patient would be `plain`.
        """
        file, offset, entry = place
        identifier = facts.get("id") if text_of_id(written) is not None else None
        group = plain_id(identifier) if identifier is not None else group_of_address(full_url)
        for odd in odd_ids(written, full_url):
            self.collected.odd.add(odd, file, f"Patient/{identifier}", f"{identifier!r:.200}", offset, entry)
        if group is None:
            only = patients.only if patients is not None else None
            group = only or f"#{file}.{offset}.{entry}"
        plain = plain and group == identifier
        local = certain and patients is not None and patients.by_name.get(address_of(full_url) or "") == group
        condition = patients.conditions.get(entry) if patients is not None else None
        if condition is not None or facts.get("link"):
            self._person(facts, group, patients)
            plain = local = False
        if full_url is not None and not plain and not local:
            name = address_of(full_url) or ""
            other = patients.by_name.get(name) if patients is not None else None
            if other is None and on_a_server(name):
                other = group_of_address(full_url)
            if other is not None and other != group:
                self.collected.special += 1
                self.collected.aliases.add((group, other))
        return group, plain, local, condition

    def _link(self, record: ReadRecord, facts: dict[str, Any], patients: BundlePatients | None) -> None:
        """Keep a resource whose patient is not simply named by type and id."""
        groups: dict[str, None] = {}
        kind, plain, unsure, lost = record.kind, record.plain, False, False
        for value in self._about(self.reader(kind), facts):
            asked = asked_of(value)
            if asked is None:
                continue
            if asked.odd is not None:
                self._odd(asked.odd, asked, record)
            group, name = asked.group, asked.name
            if name is not None:
                group = patients.by_name.get(name) if patients is not None else None
                if group is None:
                    group = name_group(name)
                    self.collected.named += 1
                    if asked.urn:
                        self._odd("urn-elsewhere", asked, record)
            if group is not None:
                plain = plain and asked.name is not None
                groups[group] = None
            elif asked.certain and asked.failure is not None:
                lost = True
            unsure = unsure or (asked.name is None and not asked.firm)
        if not groups and patients is not None and patients.only is not None and stands_alone(patients.home):
            if names_nobody(self._about(self.reader(kind), facts)):
                plain = False
                groups[patients.only] = None
        if not groups or lost:
            groups[orphan_group(kind, record.id, record.position)] = None
            unsure = True
        self.collected.unsure += unsure
        # what is called by one name is linked plainly, once it is known to whom
        plain = plain and len(groups) == 1
        for group in groups:
            self.shelf.add(msgspec.structs.replace(record, group=group, plain=plain, local=False))

    def _odd(self, odd: Odd, asked: Asked, record: ReadRecord) -> None:
        name = f"{record.kind}/{record.id}" if record.id is not None else record.kind
        self.collected.odd.add(odd, record.file, name, asked.shown, record.offset, record.entry)

    def _about(self, reader: TypeReader, facts: dict[str, Any]) -> Iterator[Any]:
        """The values of the elements that may name a patient."""
        for path in self.decoders.subject_paths(reader.kind):
            name, _, rest = path.partition(".")
            yield from values_at(facts.get(name), rest.split(".") if rest else [])

    def invalid(self, text: bytes | memoryview, path: str, offset: int, entry: int, error: Exception) -> None:
        """Report a text that is not whole, with what it still tells of its resource."""
        named = named_in(bytes(text))
        self.problem(path, offset, entry, "invalid-json", syntax_message(error, text), hint=hint_for(error), **named)

    def unknown_type(self, reader: TypeReader, text: bytes, path: str, offset: int, entry: int) -> None:
        """Report a resource of a type that no version of FHIR has."""
        found = unknown_type(reader.kind)
        if found is not None:
            message, hint = found
            self.problem(path, offset, entry, UNKNOWN_TYPE, message, hint=hint, **named_in(text))

    def problem(self, path: str, offset: int, entry: int, code: str, message: str, **more: Any) -> None:
        """Report something that could not be read."""
        where = {"file": path, "offset": offset, "entry": entry if entry >= 0 else None}
        report = self.collected.problems.append if self.others is None else self.others.add
        report(Problem(**where, code=code, message=message, **more))


def _ends_with(full_url: str, kind: str, identifier: str) -> bool:
    """Whether an entry's fullUrl is the RESTful address of a resource."""
    return full_url.startswith("http") and full_url.endswith(f"/{kind}/{identifier}")

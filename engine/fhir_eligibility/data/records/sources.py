"""Files to resources: bundles, arrays, single resources, Parameters and NDJSON, plain or gzipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fhir_eligibility.data.files.export_manifest import is_manifest
from fhir_eligibility.data.files.file_names import type_named
from fhir_eligibility.data.files.json_text import whole
from fhir_eligibility.data.files.kinds import BOM
from fhir_eligibility.data.files.listing import Listing, list_data
from fhir_eligibility.data.files.problems import ANSWER, SERVER_ERROR, Problem
from fhir_eligibility.data.records.bundle_shape import (
    BUNDLE_MEMBERS,
    ENTRY_MEMBERS,
    PatientEntry,
    entry_of_page,
    is_change,
    misnamed,
    patients_in,
    unknown_members,
)
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.histories import (
    dated,
    deletion_of,
    is_deletion,
    superseded,
    with_put_ids,
    written_in,
)
from fhir_eligibility.data.records.identity import NO_HOME, home_of, id_of
from fhir_eligibility.data.records.marks import handed_down, may_be_marked, with_modifiers
from fhir_eligibility.data.records.members import dict_of, dicts_in
from fhir_eligibility.data.records.oddities import Oddities
from fhir_eligibility.data.records.outcomes import FATAL, is_failure, issue_text, issues_of, leaves_out
from fhir_eligibility.data.records.pages import Page, page_of
from fhir_eligibility.data.records.parts import parts_of
from fhir_eligibility.data.records.record_shape import (
    DAMAGED,
    DAMAGED_HINT,
    TWICE,
    damage_of,
    holds_doubles,
    oddness_of,
    of_any_type,
    stray,
    with_doubles,
)
from fhir_eligibility.data.records.remains import remains_of
from fhir_eligibility.data.records.resource_types import CODE as UNKNOWN_TYPE
from fhir_eligibility.data.records.resource_types import unknown_type
from fhir_eligibility.data.records.values import values_in

Resource = dict[str, Any]
_encode = msgspec.json.Encoder(decimal_format="number").encode
OnProblem = Callable[[Problem], None]


class Loaded(Struct):
    """One resource and where it came from: file, bundle entry, line, byte offset of the line; `deletion` is what a DELETE entry says.

    `home` is the bundle of one patient in which it stands (`fhir_eligibility.data.records.identity`), `patients` are the Patients of its bundle. `marked`
    tells whether it may be marked as a whole (`fhir_eligibility.data.records.marks`), `superseded` that another entry of its history bundle came after it.
    """

    resource: Resource | None
    file: str
    entry: int | None = None
    line: int | None = None
    full_url: str | None = None
    deletion: Deletion | None = None
    offset: int | None = None
    file_number: int = 0
    home: int = NO_HOME
    patients: Sequence[PatientEntry] = ()
    condition: str | None = None
    """Of a Patient that is created or changed only where a search finds it, or does not: what is searched for (`fhir_eligibility.data.records.subjects`)."""
    odd_id: Any = None
    """What stands in the place of the id, where it is not a text."""
    marked: bool = True
    superseded: bool = False
    group: str | None = None
    """Whom it is kept for, where resources are kept by patient (`fhir_eligibility.data.bulk.records`)."""
    text: bytes | None = None
    """The text that it was read from, where only some elements of it are at hand."""
    page: Page | None = None
    """In the place of a resource: what a bundle says of the pages before and after it."""

    @property
    def deleted(self) -> str | None:
        """The address of what is deleted."""
        return self.deletion.url if self.deletion is not None else None

    @property
    def name(self) -> str:
        """`Type/id`, for messages."""
        if self.resource is None:
            return self.deleted or ""
        kind, identifier = self.resource.get("resourceType"), id_of(self.resource)
        return f"{kind}/{identifier}" if identifier else str(kind)


def read_resources(paths: Iterable[str | Path], on_problem: OnProblem) -> Iterator[Loaded]:
    """All resources in the files that paths name, in order. What cannot be read is a problem, and the rest goes on."""
    return read_listed(list_data(paths, on_problem), on_problem)


def read_listed(listing: Listing, on_problem: OnProblem) -> Iterator[Loaded]:
    """The same, of files that were listed."""
    found: Counter[str] = Counter()
    for path in listing.names:
        for loaded in resources_in(path, on_problem):
            if loaded.resource is not None:
                found[loaded.resource["resourceType"]] += 1
            yield loaded
    for problem in (*listing.lacking(found), *listing.changes()):
        on_problem(problem)


def resources_in(path: str, on_problem: OnProblem, *, damaged: bool = False) -> Iterator[Loaded]:
    """All resources in a file, in whatever form they stand there. What cannot be read is a problem, and the rest goes on.

    With `damaged` records come, too, of which some members cannot be used, and nothing is told of them.
    """
    odd, expected = Oddities(), type_named(path)
    parts = parts_of(path)
    for value in values_in(path, on_problem):
        if parts is not None and (marked_text := parts.marked(value.text.removeprefix(BOM))) is not value.text:
            value = msgspec.structs.replace(value, text=marked_text, data=whole(marked_text))
        marked, text, data = may_be_marked(value.text), value.text.removeprefix(BOM), value.data
        if holds_doubles(text, data):
            data = with_doubles(text, data)
        for loaded in unpack(data, path, value.report, value.line, several=value.line is not None):
            loaded.line, loaded.offset, loaded.marked = value.line, value.offset, marked
            if (
                loaded.resource is None
                or damaged
                or is_as_it_should_be(
                    loaded,
                    text if loaded.resource is data else None,
                    odd,
                    value.report,
                    expected if value.line is not None else None,
                )
            ):
                yield loaded
    for problem in odd.problems():
        on_problem(problem)


def is_as_it_should_be(
    loaded: Loaded, text: bytes | None, odd: Oddities, on_problem: OnProblem, expected: str | None = None
) -> bool:
    """Whether a resource can be used, by the members that it has; what is wrong is reported, or noted in `odd`.

    `text` is what it was read from, where that is known; of lines `expected` is the type that the name of their file tells.
    """
    resource = loaded.resource or {}
    kind, written = resource["resourceType"], _encode(resource) if text is None or TWICE in resource else text
    where: dict[str, Any] = {"file": loaded.file, "line": loaded.line, "offset": loaded.offset, "entry": loaded.entry}
    wrong = stray(kind, expected, written)
    if wrong is not None:
        named = remains_of({**resource, "resourceType": expected}).named()
        on_problem(Problem(**where, code=DAMAGED, message=wrong, hint=DAMAGED_HINT, **named))
        return False
    found = oddness_of(kind, written)
    if not found:
        return True
    damage = damage_of(found)
    if damage is None:
        place = loaded.offset or 0, loaded.entry if loaded.entry is not None else -1, loaded.line
        for one in found:
            odd.add(one.message, loaded.file, loaded.name, "", *place)
        return True
    named = remains_of(resource).named()
    if any(one.element.endswith("resourceType") for one in found):
        named = of_any_type(named)
    on_problem(Problem(**where, code=DAMAGED, message=damage, hint=DAMAGED_HINT, **named))
    return False


def unpack(data: Any, file: str, on_problem: OnProblem, line: int | None, *, several: bool = False) -> Iterator[Loaded]:
    """The resources of something decoded: bundles, arrays and Parameters opened. What is no resource is a problem.

    `several` tells that it is one of several lines or values of a file: then one that holds nothing stands in the place of a resource.
    """
    numbers = _Numbers()
    if several and (not isinstance(data, (dict, list)) or not data):
        message = "not a FHIR resource: nothing stands in its place"
        on_problem(Problem(file=file, line=line, code="not-a-resource", message=message))
        return
    if isinstance(data, list):
        numbers.take(len(data))
        for index, item in enumerate(data):
            yield from _one(item, file, index, None, on_problem, line, numbers)
        return
    yield from _one(data, file, None, None, on_problem, line, numbers)


class _Numbers:
    """Numbers for the bundles of a document, and for its entries, array items and parameters: no two of them have the same, however deep they stand."""

    def __init__(self) -> None:
        self._bundles = self._entries = 0

    def bundle(self) -> int:
        """That of the next bundle."""
        self._bundles += 1
        return self._bundles - 1

    def take(self, entries: int) -> int:
        """The first of the next entries."""
        self._entries += entries
        return self._entries - entries


_AMONG_MANY = "this is the manifest of an export, which among so many JSON files is looked for by its name: what it lists is not known"
_AS_MANIFEST = "call it manifest.json, and run again"


def _one(
    data: Any,
    file: str,
    entry: int | None,
    full_url: str | None,
    on_problem: OnProblem,
    line: int | None,
    numbers: _Numbers,
) -> Iterator[Loaded]:
    kind = data.get("resourceType") if isinstance(data, dict) else None
    if not isinstance(kind, str):
        message = "not a FHIR resource: resourceType is missing"
        lost: Literal["error", "warning"] = (
            "error" if line or entry is not None or _holds_resources(data) else "warning"
        )
        about = remains_of(data).named()
        if line is None and entry is None and is_manifest(data):
            on_problem(Problem(file=file, code="incomplete-export", message=_AMONG_MANY, hint=_AS_MANIFEST))
            return
        on_problem(
            Problem(file=file, entry=entry, line=line, code="not-a-resource", severity=lost, message=message, **about)
        )
        return
    if kind == "Bundle":
        yield from _bundle(data, file, on_problem, line, numbers)
    elif kind == "Parameters":
        for resource in _in_parameters(data):
            yield from _one(resource, file, numbers.take(1), None, on_problem, line, numbers)
    elif (unknown := unknown_type(kind)) is not None:
        message, hint = unknown
        named = {**_named(kind, data), **remains_of(data).named()}
        on_problem(Problem(file=file, entry=entry, line=line, code=UNKNOWN_TYPE, message=message, hint=hint, **named))
    else:
        if kind == "OperationOutcome":
            _tell(data, file, entry, on_problem, line)
        yield Loaded(data, file, entry, line, full_url)


def _in_parameters(parameters: Resource) -> Iterator[Any]:
    """The resources in Parameters, in their parts and the parts of these, in the order of the text."""
    waiting = dicts_in(parameters.get("parameter"))[::-1]
    while waiting:
        parameter = waiting.pop()
        if "resource" in parameter:
            yield parameter["resource"]
        waiting.extend(dicts_in(parameter.get("part"))[::-1])


def _tell(
    outcome: Any, file: str, entry: int | None, on_problem: OnProblem, line: int | None, element: str | None = None
) -> None:
    """Report what a server said went wrong, for then data is missing; `element` is `ANSWER` where it said it of one entry."""
    issues = [issue for issue in issues_of(outcome) if issue.get("severity") in (*FATAL, "warning")]
    if not issues:
        return
    lost = is_failure(outcome) or leaves_out(outcome)
    severity: Literal["error", "warning"] = "error" if lost else "warning"
    what = "reports an error" if is_failure(outcome) else "warns"
    message = f"the server {what} in the place of data: {'; '.join(map(issue_text, issues[:3]))}"
    hint = "fetch the data again" if lost else None
    where = {"file": file, "entry": entry, "line": line, "element": element}
    on_problem(Problem(**where, code=SERVER_ERROR, severity=severity, message=message, hint=hint))


def _named(kind: str, resource: Resource) -> dict[str, str]:
    """What a resource of an unknown type is called, as a field of a Problem."""
    found: dict[str, str] = {}
    identifier = id_of(resource)
    if identifier is not None and len(kind) <= 64:
        found["resource"] = f"{kind}/{identifier}"
    return found


def _holds_resources(value: Any) -> bool:
    """Whether something that is no resource holds any."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if item.__class__ is dict:
            if "resourceType" in item:
                return True
            waiting.extend(item.values())
        elif item.__class__ is list:
            waiting.extend(item)
    return False


_WRAPPED = "write the resource as `resource` of the entry"


class _BundleRead(Struct, frozen=True):
    """A bundle as it is opened: what is known of it before its entries are read, and whom what is wrong is told to.

    `first` is the number of its first entry in the document, `named` are the entries that took their ids from what they write to, `old` those that others of a history
    came after, `misnamed` those whose fullUrl names something else; all of these are counted from 0.
    """

    bundle: Resource
    entries: list[Any]
    file: str
    line: int | None
    on_problem: OnProblem
    first: int
    home: int
    patients: Sequence[PatientEntry]
    named: Sequence[int]
    old: frozenset[int]
    misnamed: Mapping[int, str]
    conditions: Mapping[int, str | None]
    written: dict[int, str]

    @property
    def history(self) -> bool:
        """Whether its entries are versions."""
        return self.bundle.get("type") == "history"

    def report(self, code: str, message: str, entry: int | None = None, *, warning: bool = False, **more: Any) -> None:
        """Report what is wrong with it, or with an entry."""
        where: dict[str, Any] = {"file": self.file, "line": self.line, "entry": entry}
        severity: Literal["error", "warning"] = "warning" if warning else "error"
        self.on_problem(Problem(**where, code=code, severity=severity, message=message, **more))


def _begun(bundle: Resource, file: str, on_problem: OnProblem, line: int | None, numbers: _Numbers) -> _BundleRead:
    """A bundle whose entries are not read yet; what is wrong with it as a whole is reported."""
    history, written = bundle.get("type") == "history", bundle.get("entry")
    named: list[int] = []
    if written.__class__ is list:
        listed, named = with_put_ids(written)
        bundle = {**bundle, "entry": listed} if named else bundle
    old = superseded(bundle["entry"]) if history and written.__class__ is list else frozenset()
    number, patients = numbers.bundle(), patients_in(bundle, old)
    home = home_of(number, bundle.get("type")) if len(patients) == 1 else NO_HOME
    entries = bundle.get("entry") or []
    is_list = isinstance(entries, list)
    # entries of bundles in a bundle are counted on behind its own
    first = numbers.take(len(entries)) if is_list else 0
    patients = [patient._replace(entry=first + patient.entry) for patient in patients] if first else patients
    read = _BundleRead(
        bundle=bundle,
        entries=entries if is_list else [],
        file=file,
        line=line,
        on_problem=on_problem,
        first=first,
        home=home,
        patients=patients,
        named=named,
        old=old,
        misnamed=misnamed(entries, history) if is_list else {},
        conditions={patient.entry: patient.condition for patient in patients},
        written={first + place: method for place, method in written_in(bundle, entries).items()} if is_list else {},
    )
    odd = unknown_members(bundle, BUNDLE_MEMBERS)
    if odd is not None:
        message = f"a Bundle has no element {odd}; what stands there is not read"
        read.report("malformed-bundle", message, warning="entry" in bundle)
    if not is_list:
        read.report("malformed-bundle", "Bundle.entry must be an array", element="Bundle.entry")
    return read


def _bundle(
    bundle: Resource, file: str, on_problem: OnProblem, line: int | None, numbers: _Numbers
) -> Iterator[Loaded]:
    read = _begun(bundle, file, on_problem, line, numbers)
    page = _page(read)
    if page is not None:
        yield Loaded(None, file, line=line, page=page)
    if read.named:
        _tell_named(read)
    for index, item in enumerate(read.entries, read.first):
        if not isinstance(item, dict):
            read.report("malformed-bundle", "a bundle entry must be an object", index)
        elif _is_entry(read, index, item):
            yield from _in_entry(read, index, item, numbers)
            _tell_answer(read, index, item)


def _page(read: _BundleRead) -> Page | None:
    """What a bundle says of the pages before and after it."""
    bundle = read.bundle
    if "link" not in bundle and not bundle.get("total") or not isinstance(bundle.get("entry") or [], list):
        return None
    return page_of(bundle.get("type"), bundle.get("link"), map(entry_of_page, read.entries), bundle.get("total"))


def _tell_named(read: _BundleRead) -> None:
    """Tell of resources that took their ids from what their entries write them to."""
    message = "the resource has no id, and is read with the one that its entry writes it to (PUT)"
    if len(read.named) > 1:
        message = (
            f"{len(read.named)} resources have no id, and are read with the one that their entries write them to (PUT)"
        )
    entry = read.first + read.named[0]
    read.report("id-of-entry", message, entry, warning=True, element="Bundle.entry.resource.id")


def _is_entry(read: _BundleRead, index: int, item: Resource) -> bool:
    """Whether an entry can be read by the members that it has; what is wrong is reported."""
    odd = unknown_members(item, ENTRY_MEMBERS)
    if odd is None:
        return True
    message = f"an entry of a Bundle has no element {odd}; what stands there is not read"
    if "resource" not in item and not is_change(item, read.bundle):
        # as a rule a resource that stands where its entry should
        named: dict[str, Any] = remains_of(item).named()
        read.report("malformed-bundle", message, index, **{**named, "hint": _WRAPPED})
        return False
    read.report("malformed-bundle", message, index, warning=True)
    return True


def _full_url(read: _BundleRead, index: int, item: Resource) -> str | None:
    """The fullUrl of an entry, None where it has none that can be used, which is reported."""
    full_url, element = item.get("fullUrl"), "Bundle.entry.fullUrl"
    if full_url is not None and not isinstance(full_url, str):
        message = "fullUrl must be a text; the entry is read without it"
        read.report("malformed-bundle", message, index, element=element)
        full_url = None
    if index - read.first in read.misnamed:
        message = f"{full_url:.200} names {read.misnamed[index - read.first]}; this entry is read without it"
        read.report("malformed-bundle", message, index, warning=True, element=element)
        full_url = None
    return full_url


def _in_entry(read: _BundleRead, index: int, item: Resource, numbers: _Numbers) -> Iterator[Loaded]:
    """What an entry holds: a resource with all that stands in it, or a change."""
    full_url, old = _full_url(read, index, item), index - read.first in read.old
    if is_change(item, read.bundle):
        change = None
        if not old:
            change = deletion_of(item, read.bundle, read.written, patch=not is_deletion(item))
        yield Loaded(None, read.file, index, read.line, deletion=change)
    elif "resource" in item:
        resource = item["resource"]
        if isinstance(resource, dict):
            resource = dated(resource, item) if read.history else resource
            modifiers = handed_down(read.bundle, item)
            resource = with_modifiers(resource, modifiers) if modifiers else resource
        for loaded in _one(resource, read.file, index, full_url, read.on_problem, read.line, numbers):
            if loaded.resource is resource:
                loaded.home, loaded.patients = read.home, read.patients
                loaded.condition = read.conditions.get(index)
            loaded.superseded = old
            yield loaded
    else:
        yield Loaded(None, read.file, index, read.line)


def _tell_answer(read: _BundleRead, index: int, item: Resource) -> None:
    """Report what a server answered in an entry, and an entry that holds nothing."""
    response = dict_of(item.get("response"))
    status = response.get("status")
    if "outcome" in response:
        _tell(response["outcome"], read.file, index, read.on_problem, read.line, ANSWER)
    elif "resource" not in item and isinstance(status, str) and status.startswith(("4", "5")):
        message = f"the server answered {status:.40} in the place of this entry"
        read.report(SERVER_ERROR, message, index, element=ANSWER)
    if not response and "resource" not in item and not is_change(item, read.bundle):
        read.report("empty-entry", "the entry holds no resource", index, warning=True)

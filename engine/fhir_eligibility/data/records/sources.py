"""Files to resources: bundles, arrays, single resources, Parameters and NDJSON, plain or gzipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from fhir_eligibility.data.files.file_names import type_named
from fhir_eligibility.data.files.json_text import whole
from fhir_eligibility.data.files.kinds import BOM
from fhir_eligibility.data.files.listing import list_data
from fhir_eligibility.data.files.problems import ANSWER, SERVER_ERROR, Problem
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.histories import (
    dated,
    deletion_of,
    is_deletion,
    is_patch,
    superseded,
    with_put_ids,
    written_in,
)
from fhir_eligibility.data.records.identity import NO_HOME, home_of, id_of, is_of_another_type
from fhir_eligibility.data.records.marks import handed_down, may_be_marked, with_modifiers
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
from fhir_eligibility.data.records.subjects import condition_of
from fhir_eligibility.data.records.values import values_in

Resource = dict[str, Any]
_encode = msgspec.json.Encoder(decimal_format="number").encode
OnProblem = Callable[[Problem], None]


class PatientEntry(NamedTuple):
    """A Patient in a bundle: the number of the entry, its fullUrl, the id as it is written, and the condition (`Loaded.condition`)."""

    entry: int
    full_url: str | None
    id: Any
    condition: str | None


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
    listing = list_data(paths, on_problem)
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


def dict_of(value: Any) -> dict[str, Any]:
    """An object of JSON data; an empty one where something else, or nothing, stands in its place."""
    return value if value.__class__ is dict else {}


def dicts_in(value: Any) -> list[dict[str, Any]]:
    """The objects in an array of JSON data; none where something else stands in its place."""
    return [item for item in value if item.__class__ is dict] if value.__class__ is list else []


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


BUNDLE_MEMBERS = frozenset(
    "resourceType id meta implicitRules language identifier type timestamp total link entry signature issues".split()
) | frozenset("_id _implicitRules _language _type _timestamp _total".split())
_WRAPPED = "write the resource as `resource` of the entry"
ENTRY_MEMBERS = frozenset(
    "id extension modifierExtension link fullUrl _fullUrl resource search request response".split()
)


def is_change(entry: Resource, bundle: Resource) -> bool:
    """Whether an entry of a bundle deletes or patches a record, and holds none."""
    return is_deletion(entry) or is_patch(entry, bundle.get("type"))


def _entry_of_page(entry: Any) -> tuple[str, Any, str]:
    """The type of the resource of an entry, as far as it has one, why it is in the bundle, and what it is called there."""
    if entry.__class__ is not dict:
        return "", None, ""
    resource = dict_of(entry.get("resource"))
    kind = str(resource["resourceType"]) if "resourceType" in resource else ""
    return kind, dict_of(entry.get("search")).get("mode"), str(entry.get("fullUrl") or resource.get("id"))


def _unknown_members(value: Resource, known: frozenset[str]) -> str | None:
    """The members of an object that it should not have, for a message; None where there are none."""
    odd = [name[:40] for name in value if name not in known]
    return ", ".join(map(repr, odd[:3])) if odd else None


def patients_in(bundle: Resource, superseded: frozenset[int] = frozenset()) -> list[PatientEntry]:
    """The Patients of a bundle; of a history bundle some entries are superseded."""
    found: list[PatientEntry] = []
    entries = bundle.get("entry")
    for number, item in enumerate(entries if entries.__class__ is list else ()):
        resource = dict_of(item.get("resource")) if item.__class__ is dict else {}
        if resource.get("resourceType") != "Patient" or number in superseded or is_change(item, bundle):
            continue
        request, full_url = dict_of(item.get("request")), item.get("fullUrl")
        condition = condition_of(request.get("method"), request.get("url"), request.get("ifNoneExist"))
        url = full_url if full_url.__class__ is str else None
        found.append(PatientEntry(number, url, resource.get("id"), condition))
    return found


def _misnamed(entries: list[Any], history: bool) -> dict[int, str]:
    """The entries whose fullUrl names something else, by number, each with what it names: the address of a resource of another type, or what another entry bears that holds
    one of another type. A Patient keeps what others bear, too, else the first."""
    found: dict[int, str] = {}
    bearers: dict[str, list[tuple[int, str]]] = {}
    for number, entry in enumerate(entries):
        resource = entry.get("resource") if entry.__class__ is dict else None
        kind = resource.get("resourceType") if resource.__class__ is dict else None
        full_url = entry.get("fullUrl") if kind.__class__ is str else None
        if full_url.__class__ is not str or not full_url:
            continue
        assert isinstance(kind, str)
        if is_of_another_type(full_url, kind):
            found[number] = "a resource of another type"
        else:
            bearers.setdefault(full_url, []).append((number, kind))
    for listed in bearers.values() if not history else ():
        if len({kind for _, kind in listed}) > 1:
            keeper = "Patient" if any(kind == "Patient" for _, kind in listed) else listed[0][1]
            found.update((number, f"a {keeper} of the same bundle, too") for number, kind in listed if kind != keeper)
    return found


def _bundle(
    bundle: Resource, file: str, on_problem: OnProblem, line: int | None, numbers: _Numbers
) -> Iterator[Loaded]:
    history = bundle.get("type") == "history"
    named: list[int] = []
    if bundle.get("entry").__class__ is list:
        listed, named = with_put_ids(bundle["entry"])
        bundle = {**bundle, "entry": listed} if named else bundle
    old = superseded(bundle["entry"]) if history and bundle.get("entry").__class__ is list else frozenset()
    number, patients = numbers.bundle(), patients_in(bundle, old)
    home = home_of(number, bundle.get("type")) if len(patients) == 1 else NO_HOME
    odd = _unknown_members(bundle, BUNDLE_MEMBERS)
    if odd is not None:
        message = f"a Bundle has no element {odd}; what stands there is not read"
        problem = Problem(file=file, line=line, code="malformed-bundle", message=message)
        on_problem(problem if "entry" not in bundle else problem.model_copy(update={"severity": "warning"}))
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        message = "Bundle.entry must be an array"
        on_problem(Problem(file=file, line=line, element="Bundle.entry", code="malformed-bundle", message=message))
        return
    page = None
    if "link" in bundle or bundle.get("total"):
        page = page_of(bundle.get("type"), bundle.get("link"), map(_entry_of_page, entries), bundle.get("total"))
    if page is not None:
        yield Loaded(None, file, line=line, page=page)
    # entries of bundles in a bundle are counted on behind its own
    first = numbers.take(len(entries))
    patients = [patient._replace(entry=first + patient.entry) for patient in patients] if first else patients
    if named:
        message = f"{len(named)} resources have no id, and are read with the one that their entries write them to (PUT)"
        where = {"entry": first + named[0], "element": "Bundle.entry.resource.id"}
        message = (
            message
            if len(named) > 1
            else "the resource has no id, and is read with the one that its entry writes it to (PUT)"
        )
        problem = Problem(file=file, line=line, **where, code="id-of-entry", severity="warning", message=message)
        on_problem(problem)
    misnamed = _misnamed(entries, history)
    conditions = {patient.entry: patient.condition for patient in patients}
    written = {first + place: method for place, method in written_in(bundle, entries).items()}
    for index, item in enumerate(entries, first):
        if not isinstance(item, dict):
            message = "a bundle entry must be an object"
            on_problem(Problem(file=file, line=line, entry=index, code="malformed-bundle", message=message))
            continue
        changed, odd = is_change(item, bundle), _unknown_members(item, ENTRY_MEMBERS)
        if odd is not None:
            message = f"an entry of a Bundle has no element {odd}; what stands there is not read"
            problem = Problem(file=file, line=line, entry=index, code="malformed-bundle", message=message)
            if "resource" not in item and not changed:
                # as a rule a resource that stands where its entry should
                on_problem(problem.model_copy(update={**remains_of(item).named(), "hint": _WRAPPED}))
                continue
            on_problem(problem.model_copy(update={"severity": "warning"}))
        full_url = item.get("fullUrl")
        if full_url is not None and not isinstance(full_url, str):
            message = "fullUrl must be a text; the entry is read without it"
            where = {"entry": index, "element": "Bundle.entry.fullUrl"}
            on_problem(Problem(file=file, line=line, **where, code="malformed-bundle", message=message))
            full_url = None
        if index - first in misnamed:
            message = f"{full_url:.200} names {misnamed[index - first]}; this entry is read without it"
            where = {"entry": index, "element": "Bundle.entry.fullUrl"}
            on_problem(
                Problem(file=file, line=line, **where, code="malformed-bundle", severity="warning", message=message)
            )
            full_url = None
        if changed:
            if index - first in old:
                yield Loaded(None, file, index, line)
            else:
                yield Loaded(
                    None, file, index, line, deletion=deletion_of(item, bundle, written, patch=not is_deletion(item))
                )
        elif "resource" in item:
            resource = item["resource"]
            if isinstance(resource, dict):
                resource = dated(resource, item) if history else resource
                modifiers = handed_down(bundle, item)
                resource = with_modifiers(resource, modifiers) if modifiers else resource
            for loaded in _one(resource, file, index, full_url, on_problem, line, numbers):
                if loaded.resource is resource:
                    loaded.home, loaded.patients = home, patients
                    loaded.condition = conditions.get(index)
                loaded.superseded = index - first in old
                yield loaded
        response = dict_of(item.get("response"))
        status = response.get("status")
        if "outcome" in response:
            _tell(response["outcome"], file, index, on_problem, line, ANSWER)
        elif "resource" not in item and isinstance(status, str) and status.startswith(("4", "5")):
            message = f"the server answered {status:.40} in the place of this entry"
            where = {"file": file, "line": line, "entry": index, "element": ANSWER}
            on_problem(Problem(**where, code=SERVER_ERROR, message=message))
        if not changed and "resource" not in item:
            yield Loaded(None, file, index, line)
        if not changed and "resource" not in item and not response:
            message = "the entry holds no resource"
            on_problem(
                Problem(file=file, line=line, entry=index, code="empty-entry", severity="warning", message=message)
            )

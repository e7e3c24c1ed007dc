"""Files to resources: bundles, arrays, single resources, Parameters and NDJSON, plain or gzipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from engine.artifacts.own_outputs import CODE as OWN_OUTPUTS
from engine.artifacts.own_outputs import MESSAGE as OUTPUTS_PASSED_OVER
from engine.data.export_manifest import MANIFEST, listed_files, noted_problems
from engine.data.files import Walk, walk
from engine.data.identity import NO_HOME, home_of, id_of
from engine.data.json_text import BAD_JSON, check_encoding, hint_for, named_in, told, whole, wide_encoding
from engine.data.marks import may_be_marked
from engine.data.opening import (
    MOST_DOCUMENT,
    MOST_LINE,
    PACKED,
    UNREADABLE,
    document_in,
    lines_in,
    open_file,
    without_packing,
)
from engine.data.problems import Problem
from engine.data.resource_types import CODE as UNKNOWN_TYPE
from engine.data.resource_types import unknown_type

Resource = dict[str, Any]
OnProblem = Callable[[Problem], None]
SUFFIXES = tuple(f"{kind}{packed}" for kind in (".json", ".ndjson", ".jsonl") for packed in ("", *PACKED))


@dataclass(slots=True)
class Loaded:
    """One resource and where it came from: file, bundle entry, line, byte offset of the line; `deleted` is `Type/id` of a resource that a DELETE entry removes.

    `home` is the bundle of one patient in which it stands (`engine.data.identity`), `one` the fullUrl and the id of that Patient. `marked` tells whether it may
    be marked as a whole (`engine.data.marks`).
    """

    resource: Resource | None
    file: str
    entry: int | None = None
    line: int | None = None
    full_url: str | None = None
    deleted: str | None = None
    offset: int | None = None
    file_number: int = 0
    home: int = NO_HOME
    one: tuple[str | None, Any] | None = None
    odd_id: Any = None
    """What stands in the place of the id, where it is no text."""
    marked: bool = True

    @property
    def name(self) -> str:
        """`Type/id`, for messages."""
        if self.resource is None:
            return self.deleted or ""
        kind, identifier = self.resource.get("resourceType"), id_of(self.resource)
        return f"{kind}/{identifier}" if identifier else str(kind)


def data_files(paths: Iterable[str | Path], on_problem: OnProblem) -> Iterator[Path]:
    """The data files that paths name; folders are walked in the order of their names."""
    return map(Path, data_file_names(paths, on_problem))


def data_file_names(paths: Iterable[str | Path], on_problem: OnProblem, walk: Walk = walk) -> Iterator[str]:
    """The same as text."""
    for item in paths:
        path = Path(item)
        if path.is_dir() or path.name == MANIFEST:
            manifest = path / MANIFEST if path.is_dir() else path
            listed = listed_files(manifest)
            if listed is not None:
                for text in noted_problems(manifest):
                    on_problem(Problem(file=str(manifest), code="incomplete-export", message=text))
                yield from map(str, _present(listed, on_problem))
                continue
        if path.is_dir():
            some = False
            for found in walk(str(path)):
                if found.denied is not None:
                    some = True
                    message = f"this folder cannot be read: {found.denied}; what is in it is not used"
                    on_problem(Problem(file=found.path, code="unreadable", message=message))
                elif found.outputs:
                    on_problem(
                        Problem(file=found.path, code=OWN_OUTPUTS, severity="warning", message=OUTPUTS_PASSED_OVER)
                    )
                elif found.path.lower().endswith(SUFFIXES):
                    some = True
                    yield found.path
            if not some:
                on_problem(
                    Problem(file=str(path), code="no-data-files", message="no JSON or NDJSON file in this folder")
                )
        elif path.exists():
            yield str(path)
        else:
            on_problem(Problem(file=str(path), code="not-found", message="this file or folder does not exist"))


def _present(listed: list[Path], on_problem: OnProblem) -> Iterator[Path]:
    """The files that a manifest lists; one that is missing is a problem."""
    for path in listed:
        if path.is_file():
            yield path
        else:
            hint = "run the export again: it fetches what is missing"
            message = "the manifest lists this file, but it is not there"
            on_problem(Problem(file=str(path), code="not-found", message=message, hint=hint))


def read_resources(paths: Iterable[str | Path], on_problem: OnProblem) -> Iterator[Loaded]:
    """All resources in the files that paths name, in order. What cannot be read is a problem, and the rest goes on."""
    for path in data_files(paths, on_problem):
        lines = without_packing(path.name.lower()).endswith((".ndjson", ".jsonl"))
        try:
            with open_file(str(path)) as stream:
                if lines:
                    yield from _lines(stream, str(path), on_problem)
                    continue
                raw = document_in(stream)
        except UNREADABLE as error:
            message = f"cannot be read: {error or error.__class__.__name__}"
            on_problem(Problem(file=str(path), code="unreadable", message=message))
            continue
        if raw is None:
            on_problem(too_long_document(str(path)))
        else:
            yield from _document(raw.removeprefix(b"\xef\xbb\xbf"), str(path), on_problem)


def other_text(file: str, beginning: bytes) -> Problem | None:
    """The problem of a file that is known, by how it begins, to be no JSON at all or in another encoding; None for any other file."""
    if beginning.startswith(b"version https://git-lfs"):
        message = "not valid JSON: this is a pointer of Git LFS, not the file itself"
        return Problem(file=file, code="invalid-json", message=message, hint="fetch the file: git lfs pull")
    if beginning[:20].lstrip().lower().startswith((b"<html", b"<!doctype html")):
        message = "not valid JSON: this is a web page, such as the error page of a server"
        return Problem(file=file, code="invalid-json", message=message, hint="fetch the file again")
    name = wide_encoding(beginning)
    if name is None:
        return None
    message = f"not valid JSON: the file is {name}, and FHIR's JSON is UTF-8; nothing of it is used"
    hint = f"convert it (iconv -f {name} -t UTF-8), or have it written as UTF-8"
    return Problem(file=file, code="invalid-json", message=message, hint=hint)


def too_long_document(file: str) -> Problem:
    """The problem of a file that is one JSON document larger than is read."""
    message = f"one JSON document of more than {MOST_DOCUMENT >> 30} GB, which is not read"
    return Problem(file=file, code="too-large", message=message, hint="write it as NDJSON, one resource a line")


def too_long_line(file: str, offset: int, line: int | None = None) -> Problem:
    """The problem of a line that is longer than is read."""
    message = f"the line has more than {MOST_LINE >> 20} MB; it is not read"
    return Problem(file=file, line=line, offset=offset, code="too-large", message=message)


def _decode(raw: bytes) -> Any:
    """What a text holds. Raises BAD_JSON."""
    check_encoding(raw)
    return whole(raw)


def _lines(stream: BinaryIO, file: str, on_problem: OnProblem) -> Iterator[Loaded]:
    for number, (offset, text) in enumerate(lines_in(stream), start=1):
        other = other_text(file, (text or b"")[:64]) if offset == 0 else None
        if other is not None:
            on_problem(other)
            return
        if text is None:
            on_problem(too_long_line(file, offset, number))
            continue
        line = (text.removeprefix(b"\xef\xbb\xbf") if offset == 0 else text).strip()
        if not line:
            continue
        try:
            data = _decode(line)
        except BAD_JSON as error:
            where, what = {"line": number, "offset": offset}, {"message": told(error), "hint": hint_for(error)}
            on_problem(Problem(file=file, **where, code="invalid-json", **what, **named_in(line)))
            continue
        marked = may_be_marked(line)
        for loaded in unpack(data, file, on_problem, number):
            loaded.line, loaded.offset, loaded.marked = number, offset, marked
            yield loaded


def _document(raw: bytes, file: str, on_problem: OnProblem) -> Iterator[Loaded]:
    try:
        data = _decode(raw)
    except BAD_JSON as error:
        on_problem(invalid_document(raw, file, error))
        return
    marked = may_be_marked(raw)
    for loaded in unpack(data, file, on_problem, None):
        loaded.marked = marked
        yield loaded


def invalid_document(text: bytes, file: str, error: Exception) -> Problem:
    """The problem of a file that is not the one JSON document that it should be."""
    other = other_text(file, text[:64])
    if other is not None:
        return other
    hint = "if this is NDJSON, name the file .ndjson" if b"}\n{" in text[:1_000_000] else hint_for(error)
    return Problem(file=file, code="invalid-json", message=told(error), hint=hint, **named_in(text))


def dict_of(value: Any) -> dict[str, Any]:
    """An object of JSON data; an empty one where something else, or nothing, stands in its place."""
    return value if value.__class__ is dict else {}


def dicts_in(value: Any) -> list[dict[str, Any]]:
    """The objects in an array of JSON data; none where something else stands in its place."""
    return [item for item in value if item.__class__ is dict] if value.__class__ is list else []


def unpack(data: Any, file: str, on_problem: OnProblem, line: int | None) -> Iterator[Loaded]:
    """The resources of something decoded: bundles, arrays and Parameters opened. What is no resource is a problem."""
    bundles = count()
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _one(item, file, index, None, on_problem, line, bundles)
        return
    yield from _one(data, file, None, None, on_problem, line, bundles)


def _one(
    data: Any,
    file: str,
    entry: int | None,
    full_url: str | None,
    on_problem: OnProblem,
    line: int | None,
    bundles: Iterator[int],
) -> Iterator[Loaded]:
    kind = data.get("resourceType") if isinstance(data, dict) else None
    if not isinstance(kind, str):
        message = "not a FHIR resource: resourceType is missing"
        on_problem(Problem(file=file, entry=entry, line=line, code="not-a-resource", message=message))
        return
    if kind == "Bundle":
        yield from _bundle(data, file, on_problem, line, bundles)
    elif kind == "Parameters":
        for parameter in dicts_in(data.get("parameter")):
            if "resource" in parameter:
                yield from _one(parameter["resource"], file, None, None, on_problem, line, bundles)
    elif (unknown := unknown_type(kind)) is not None:
        message, hint = unknown
        named = _named(kind, data)
        on_problem(Problem(file=file, entry=entry, line=line, code=UNKNOWN_TYPE, message=message, hint=hint, **named))
    else:
        yield Loaded(data, file, entry, line, full_url)


def _named(kind: str, resource: Resource) -> dict[str, str]:
    """What a resource of an unknown type is called, and whom it is about, as fields of a Problem."""
    found: dict[str, str] = {}
    identifier = id_of(resource)
    if identifier is not None and len(kind) <= 64:
        found["resource"] = f"{kind}/{identifier}"
    for name in ("subject", "patient"):
        reference = dict_of(resource.get(name)).get("reference")
        if reference.__class__ is str:
            found["patient"] = reference
    return found


BUNDLE_MEMBERS = frozenset(
    "resourceType id meta implicitRules language identifier type timestamp total link entry signature issues".split()
) | frozenset("_id _implicitRules _language _type _timestamp _total".split())
ENTRY_MEMBERS = frozenset(
    "id extension modifierExtension link fullUrl _fullUrl resource search request response".split()
)


def _unknown_members(value: Resource, known: frozenset[str]) -> str | None:
    """The members of an object that it should not have, for a message; None where there are none."""
    odd = [name[:40] for name in value if name not in known]
    return ", ".join(map(repr, odd[:3])) if odd else None


def only_patient(bundle: Resource) -> tuple[str | None, Any] | None:
    """The fullUrl and the id of the one Patient of a bundle, None where it holds none or several."""
    found = [
        (item.get("fullUrl"), item["resource"].get("id"))
        for item in dicts_in(bundle.get("entry"))
        if dict_of(item.get("resource")).get("resourceType") == "Patient"
        and dict_of(item.get("request")).get("method") != "DELETE"
    ]
    if len(found) != 1:
        return None
    ((full_url, identifier),) = found
    return full_url if full_url.__class__ is str else None, identifier


def _bundle(
    bundle: Resource, file: str, on_problem: OnProblem, line: int | None, bundles: Iterator[int]
) -> Iterator[Loaded]:
    number, one = next(bundles), only_patient(bundle)
    home = NO_HOME if one is None else home_of(number, bundle.get("type"))
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
    for index, item in enumerate(entries):
        if not isinstance(item, dict):
            message = "a bundle entry must be an object"
            on_problem(Problem(file=file, line=line, entry=index, code="malformed-bundle", message=message))
            continue
        odd = _unknown_members(item, ENTRY_MEMBERS)
        if odd is not None:
            message = f"an entry of a Bundle has no element {odd}; what stands there is not read"
            where = {"line": line, "entry": index, "severity": "warning"}
            on_problem(Problem(file=file, **where, code="malformed-bundle", message=message))
        request, full_url = dict_of(item.get("request")), item.get("fullUrl")
        if full_url is not None and not isinstance(full_url, str):
            message = "fullUrl must be a text; the entry is read without it"
            where = {"entry": index, "element": "Bundle.entry.fullUrl"}
            on_problem(Problem(file=file, line=line, **where, code="malformed-bundle", message=message))
            full_url = None
        if request.get("method") == "DELETE":
            yield Loaded(None, file, index, line, deleted=str(request.get("url", "")))
        elif "resource" in item:
            for loaded in _one(item["resource"], file, index, full_url, on_problem, line, bundles):
                if loaded.home == NO_HOME and loaded.resource is item["resource"]:
                    loaded.home, loaded.one = home, one
                yield loaded
        elif not item.get("response"):
            message = "the entry holds no resource"
            on_problem(
                Problem(file=file, line=line, entry=index, code="empty-entry", severity="warning", message=message)
            )

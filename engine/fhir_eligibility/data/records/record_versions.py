"""What of several versions of one record counts, and the deletions of it: the newest, told where it is; where nothing tells which that is, the record is in doubt.

Two are the same if all of their content is the same, whatever the plan reads of it; `meta.lastUpdated` and `meta.versionId` only tell which is newer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from fhir_eligibility.data.files.export_manifest import ExportTimes
from fhir_eligibility.data.files.json_text import BAD_JSON, whole
from fhir_eligibility.data.files.problems import CONFLICTING, Problem
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.identity import entered_in_error, stands_alone
from fhir_eligibility.data.records.lifecycle import Moment, Said, moment_of, newest, version_number
from fhir_eligibility.data.records.sources import Loaded

Resource = dict[str, Any]
Place = tuple[int, int, int]
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted", enc_hook=repr).encode
_BOOKKEEPING = frozenset(("lastUpdated", "versionId"))
_PARTS = frozenset("output outputs deleted deletions".split())


def content_of(resource: Resource) -> bytes:
    """A digest of all that a resource says, however its JSON is written; decimals of other precision are other values (FHIR R4: datatypes.html#decimal)."""
    meta = resource.get("meta")
    if meta.__class__ is dict:
        left = {name: value for name, value in meta.items() if name not in _BOOKKEEPING}
        resource = {name: value for name, value in resource.items() if name != "meta"}
        if left:
            resource["meta"] = left
    try:
        text = _encode(resource)
    except (UnicodeError, TypeError, ValueError):
        text = repr(resource).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=16).digest()


class Counted(Struct, frozen=True):
    """What counts of one record: the forms that it may have, the first of which is used (none: it was deleted, or is not to be used), and whether there may be no such record.

    `why` says what is in doubt where it may be one thing or another; it is empty where nothing is.
    """

    forms: tuple[Loaded, ...]
    perhaps_gone: bool = False
    why: str = ""
    unknown: bool = False
    """Whether it may say anything else: it was changed in a way that is not known."""


class Versions:
    """Tells what counts. `digests` are contents of records of which not all is at hand, by their place; `times` tells when exports were made."""

    def __init__(self, times: ExportTimes | None = None, digests: Mapping[Place, bytes] | None = None) -> None:
        self._times = times if times is not None else ExportTimes()
        self._digests = digests or {}

    def content(self, loaded: Loaded) -> bytes:
        """The content of a record, all of it."""
        if loaded.text is not None:
            with suppress(*BAD_JSON):
                return content_of(whole(loaded.text))
        entry = -1 if loaded.entry is None else loaded.entry
        known = self._digests.get((loaded.file_number, loaded.offset or 0, entry)) if self._digests else None
        assert loaded.resource is not None
        return known if known is not None else content_of(loaded.resource)

    def counted(
        self,
        name: str,
        versions: Sequence[Loaded],
        deletions: Sequence[Deletion],
        report: Callable[[Problem], None],
        *,
        nobodys: bool = False,
    ) -> Counted:
        """What counts of all versions and deletions of a record; what is found is reported.

        Of what is about `nobodys`, every bundle brings its own copy: that is no news, and where they differ each patient sees that of the own bundle.
        """
        patches = [one for one in deletions if one.patch] if deletions else []
        if patches:
            deletions = [one for one in deletions if not one.patch]
        found = self._counted(name, versions, deletions, report, nobodys)
        left = [one for one in patches if not all(_has_patch(form, one) for form in found.forms)]
        if not left:
            return found
        where = distinct_names([left[0].file])[left[0].file]
        why = f"{name} is changed by a PATCH in {where}, which is not applied: what it says now cannot be told"
        return Counted(found.forms, found.perhaps_gone, why, unknown=True)

    def _counted(
        self,
        name: str,
        versions: Sequence[Loaded],
        deletions: Sequence[Deletion],
        report: Callable[[Problem], None],
        nobodys: bool,
    ) -> Counted:
        if len(versions) == 1 and not deletions:
            (only,) = versions
            return Counted(()) if _in_error(only, report) else Counted((only,))
        listed = list(versions)
        contents = [self.content(one) for one in listed]
        said = [self._said(one, content) for one, content in zip(listed, contents, strict=True)]
        removed = [self._removed(deletion, listed) for deletion in deletions]
        after = newest([*said, *removed])
        kept = [place for place in after if place < len(listed)]
        gone = [deletions[place - len(listed)] for place in after if place >= len(listed)]
        forms = _different(kept, listed, contents)
        usable = [one for one in forms if not _is_in_error(one)]
        doubt = any(deletion.several for deletion in gone) or (bool(gone) and bool(kept))
        if gone and not doubt:
            if listed[0].resource is None or listed[0].resource.get("resourceType") != "Patient":
                _report_deleted(name, listed[0], report)  # of a patient, everything is
            return Counted(())
        if gone and not kept:
            # a server may have refused a deletion that finds several
            forms = _different(newest(said), listed, contents)
            usable = [one for one in forms if not _is_in_error(one)]
        if len(forms) == 1 and not gone:
            self._besides(name, listed, contents, report, copies=not nobodys)
            return Counted(()) if _in_error(forms[0], report) else Counted(tuple(forms))
        why = _conflict(name, forms, gone)
        own = nobodys and not gone and any(stands_alone(one.home) for one in forms)
        for one in forms:
            if own:
                message = f"{why}; a patient whose own bundle holds one sees that, and for others it is in doubt"
                report(_problem(one, name, "duplicate", message, warning=True))
            else:
                _report_conflict(one, name, why, report)
        return Counted(tuple(usable), bool(gone) or len(usable) < len(forms), why)

    def _said(self, loaded: Loaded, content: bytes) -> Said:
        meta = loaded.resource.get("meta") if loaded.resource is not None else None
        known = meta if meta.__class__ is dict else {}
        return Said(
            False,
            moment_of(known.get("lastUpdated")),
            version_number(known.get("versionId")),
            self._seen(loaded.file),
            _export_of(loaded.file),
            (loaded.file, loaded.offset or 0),
            content=content,
        )

    def _removed(self, deletion: Deletion, versions: Iterable[Loaded]) -> Said:
        bundle = (deletion.file, deletion.offset or 0)
        methods = {
            deletion.written.get(one.entry)
            for one in versions
            if one.entry is not None and (one.file, one.offset or 0) == bundle
        }
        return Said(
            True,
            moment_of(deletion.moment),
            version_number(deletion.version),
            self._seen(deletion.file),
            _export_of(deletion.file),
            bundle,
            contested=bool(methods - {None}),
        )

    def _seen(self, file: str) -> Moment | None:
        return moment_of(self._times.of(file))

    def _besides(
        self,
        name: str,
        listed: Sequence[Loaded],
        contents: Sequence[bytes],
        report: Callable[[Problem], None],
        *,
        copies: bool,
    ) -> None:
        """Tell of versions that were read besides the one that counts."""
        seen, places = {contents[0]}, {_place(listed[0])}
        for one, content in zip(listed[1:], contents[1:], strict=True):
            if _place(one) in places:
                continue  # the same record, which was kept by several names of whom it is about
            places.add(_place(one))
            known = content in seen
            seen.add(content)
            if known and not copies:
                continue
            if known:
                message = f"{name} was read before, the same; it counts once"
            else:
                message = f"{name} was read before with other content; the newest counts"
            report(_problem(one, name, "duplicate", message, warning=True))


def _has_patch(loaded: Loaded, patch: Deletion) -> bool:
    """Whether a version certainly came after a patch, or is what it made."""
    meta = loaded.resource.get("meta") if loaded.resource is not None else None
    known = meta if meta.__class__ is dict else {}
    moment, patched = moment_of(known.get("lastUpdated")), moment_of(patch.moment)
    if moment is not None and patched is not None:
        return moment.after(patched)
    version, made = version_number(known.get("versionId")), version_number(patch.version)
    return version is not None and made is not None and version >= made


def _place(loaded: Loaded) -> tuple[Any, ...]:
    return loaded.file, loaded.offset or 0, -1 if loaded.entry is None else loaded.entry


def _different(places: Iterable[int], listed: Sequence[Loaded], contents: Sequence[bytes]) -> list[Loaded]:
    """One of each content, in an order that does not depend on that of the data; of the same content one that says when it was written."""
    found: dict[bytes, Loaded] = {}
    for place in places:
        known = found.get(contents[place])
        if known is None or _rank(listed[place]) > _rank(known):
            found[contents[place]] = listed[place]
    return [found[content] for content in sorted(found)]


def _export_of(file: str) -> str:
    """The folder of the export that a file belongs to: its own, or the one above where its own is called as a part of an export is."""
    folder = os.path.dirname(file)
    above, name = os.path.split(folder)
    return above if name.lower() in _PARTS else folder


def _rank(loaded: Loaded) -> tuple[Any, ...]:
    meta = loaded.resource.get("meta") if loaded.resource is not None else None
    known = meta if meta.__class__ is dict else {}
    moment, version = moment_of(known.get("lastUpdated")), version_number(known.get("versionId"))
    return (
        moment is not None,
        moment.low.timestamp() if moment is not None else 0.0,
        -1 if version is None else version,
    )


def _is_in_error(loaded: Loaded) -> bool:
    return loaded.resource is not None and entered_in_error(loaded.resource)


def _in_error(loaded: Loaded, report: Callable[[Problem], None]) -> bool:
    """Whether a record was recorded in error, which is reported."""
    if not _is_in_error(loaded):
        return False
    message = "recorded in error; it is disregarded"
    report(_problem(loaded, loaded.name, "entered-in-error", message, warning=True))
    return True


def _report_deleted(name: str, loaded: Loaded, report: Callable[[Problem], None]) -> None:
    report(_problem(loaded, name, "deleted", f"{name} was deleted; it is not used", warning=True))


def _conflict(name: str, forms: Sequence[Loaded], gone: Sequence[Deletion]) -> str:
    files = list(dict.fromkeys(form.file for form in sorted(forms, key=_place)))
    shown = distinct_names(files + [deletion.file for deletion in gone])
    where = " and ".join(shown[file] for file in files[:3]) + (" and more" if len(files) > 3 else "")
    if gone:
        listed = shown[gone[0].file]
        if any(deletion.several for deletion in gone):
            return f"{name} is one of several that DELETE {gone[0].url[:100]!r} in {listed} finds: whether it was deleted cannot be told"
        return f"{name} stands in {where} and is deleted in {listed}: which came first cannot be told"
    return f"{name} stands in {where} with different content, and nothing tells which is the newest"


def distinct_names(files: Iterable[str]) -> dict[str, str]:
    """How a sentence calls files: by their names, with the folder where several have the same."""
    different = set(files)
    names = [os.path.basename(file) for file in different]
    return {
        file: name if names.count(name) == 1 else os.path.join(os.path.basename(os.path.dirname(file)), name)
        for file, name in zip(different, names, strict=True)
    }


def _report_conflict(loaded: Loaded, name: str, why: str, report: Callable[[Problem], None]) -> None:
    hint = "leave out what is out of date, or give meta.lastUpdated, or each export in a folder of its own with its manifest"
    report(_problem(loaded, name, CONFLICTING, f"{why}; what hangs on it is unknown", hint=hint))


def _problem(
    loaded: Loaded, name: str, code: str, message: str, *, warning: bool = False, hint: str | None = None
) -> Problem:
    where = {"file": loaded.file, "line": loaded.line, "offset": loaded.offset, "entry": loaded.entry}
    severity: Any = "warning" if warning else "error"
    return Problem(**where, resource=name, code=code, severity=severity, message=message, hint=hint)

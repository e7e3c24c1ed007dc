"""Which files are read as data: every file that paths name is read, or named once as one that is not read, with the reason.

In a folder, files named as JSON or NDJSON are read, and others that hold FHIR resources; a manifest of an export tells which of the files beside it are data;
the files in a zip are as those in a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, field

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.artifacts.own_outputs import CODE as OWN_OUTPUTS
from fhir_eligibility.artifacts.own_outputs import MESSAGE as OUTPUTS_PASSED_OVER
from fhir_eligibility.data.files.export_manifest import (
    ExportManifest,
    ListedFile,
    export_manifest,
    file_name,
    first_pages,
    manifests_in,
)
from fhir_eligibility.data.files.files import FoundFile, Walk, Walks, found_file
from fhir_eligibility.data.files.kinds import (
    EMPTY,
    HIDDEN,
    LOOKED_AT,
    UNFINISHED,
    Kind,
    kind_by_name,
    kind_of,
    office_kind,
)
from fhir_eligibility.data.files.opening import PACKED, UNREADABLE, beginning_of, open_file, packing
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.files.zips import INSIDE, is_clutter, members_of, place_in_zip

OnProblem = Callable[[Problem], None]
SUFFIXES = tuple(f"{kind}{packed}" for kind in (".json", ".ndjson", ".jsonl") for packed in ("", *PACKED))
_LINES = tuple(f"{kind}{packed}" for kind in (".ndjson", ".jsonl") for packed in ("", *PACKED))
NAMED = 3
"""Files named in a message; of others it tells how many they are."""
_WORD = re.compile(r"[A-Za-z]+")
_EXPORT_AGAIN = "run the export again: it fetches what is missing"


class DataFile(NamedTuple):
    """A file that is read: what the system told of it when it was found, how many resources a manifest says it holds, if one does, and whether it is packed."""

    found: FoundFile
    resources: int | None = None
    packed: bool = False


class Listing(Struct, frozen=True):
    """The data files that paths name, each once, in order, and when the folders were changed in which they were found; of files that are not read, those whose names tell a type.

    `unread` has by type the path of one and what it is, `manifests` the paths of the manifests of exports, of each the first page.
    """

    paths: tuple[str, ...]
    files: tuple[DataFile, ...]
    folders: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    manifests: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The paths of the files."""
        return [file.found.path for file in self.files]

    def stored(self) -> list[FoundFile]:
        """The files as they are stored: those in a zip are one."""
        found: dict[str, FoundFile] = {}
        for file in self.files:
            place = place_in_zip(file.found.path) if INSIDE in file.found.path else None
            if place is None:
                found[file.found.path] = file.found
            elif place[0] not in found:
                found[place[0]] = found_file(place[0])
        return list(found.values())

    def lacking(self, found: Mapping[str, int]) -> Iterator[Problem]:
        """What the data seems to hold in files that are not read alone; `found` are how many resources of each type were read."""
        for kind, (path, what) in self.unread.items():
            if not found.get(kind):
                message = f"no {kind} was read, and this file, which is {what} and not read, is called so"
                yield Problem(file=path, type=kind, code="type-not-read", message=message, hint=_NAMED)

    def changes(self) -> Iterator[Problem]:
        """What of it is another now than it was when it was listed: to be asked when all is read, and before anything is concluded."""
        asked: set[str] = set()
        for file in self.files:
            was, place = file.found, file.found.path
            if was.changed is None:
                continue
            if INSIDE in place and (holder := place_in_zip(place)) is not None:
                place = holder[0]
            if place in asked:
                continue
            asked.add(place)
            now = found_file(place)
            if now.changed is None:
                yield _changed(place, "was removed")
            elif (
                (now.changed, now.identity) != (was.changed, was.identity)
                or place == was.path
                and now.bytes != was.bytes
            ):
                sizes = f" (it had {was.bytes} bytes, and has {now.bytes})" if place == was.path else ""
                yield _changed(place, f"changed{sizes}")
        if any(_changed_at(folder) != moment for folder, moment in self.folders.items()):
            known = set(self.names)
            for file in list_data(self.paths, lambda problem: None).files:
                if file.found.path not in known:
                    message = "this file came while the data was read; it is not used"
                    yield Problem(file=file.found.path, code="changed-while-read", message=message, hint=_WRITTEN)


_NAMED = "have it written as FHIR's JSON; where it holds no records, move it away"
_WRITTEN = "run again when nothing is written there any more"


def _changed(path: str, what: str) -> Problem:
    message = (
        f"this file {what} while the data was read: what was read of it may be neither what it held nor what it holds"
    )
    return Problem(file=path, code="changed-while-read", message=message, hint=_WRITTEN)


def _changed_at(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def list_data(paths: Iterable[str | Path], on_problem: OnProblem, walks: Walk | None = None) -> Listing:
    """The data files that paths name; what is not read, or not there, is a problem."""
    walks = walks if walks is not None else Walks()
    listing, given = _Listing(on_problem, walks), tuple(map(str, paths))
    for path in given:
        listing.path(path)
    folders = walks.folders if isinstance(walks, Walks) else {}
    return Listing(given, tuple(listing.files), folders, listing.unread, tuple(dict.fromkeys(listing.manifests)))


class _Export(Struct):
    """What of an export is there: the manifest, the files that it lists and finds (pages of the manifest among them), and those that are missing."""

    path: str
    there: set[str] = field(default_factory=set)
    data: int = 0
    missing: list[ListedFile] = field(default_factory=list)


class _Notes(Struct):
    """What of a folder is not read: by what it is; beside which manifest; and what was read under another name."""

    kinds: dict[Kind, list[str]] = field(default_factory=dict)
    unlisted: dict[str, list[FoundFile]] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)


class _Listing:
    """The files of several paths, one after the other."""

    def __init__(self, on_problem: OnProblem, walk: Walk) -> None:
        self.files: list[DataFile] = []
        self._on_problem = on_problem
        self._walk = walk
        self._seen: set[tuple[object, ...]] = set()
        self.unread: dict[str, tuple[str, str]] = {}
        self.manifests: list[str] = []
        self._zips: dict[str, Kind] = {}
        self._packed: set[str] = set()

    def _report(self, path: str, code: str, message: str, hint: str | None = None, *, warning: bool = False) -> None:
        self._on_problem(
            Problem(file=path, code=code, message=message, hint=hint, severity="warning" if warning else "error")
        )

    def path(self, path: str) -> None:
        """One path: a folder, a zip, a manifest, or a data file."""
        if os.path.isdir(path):
            self._folder(path, self._walk(path))
        elif os.path.isfile(path):
            found = found_file(path)
            manifest = None if path.lower().endswith(_LINES) else export_manifest(path)
            if manifest is not None:
                beside = self._walk(os.path.dirname(path) or ".")
                named = {os.path.join(os.path.dirname(path), os.path.basename(one.path)): one for one in beside}
                export = self._exported(path, manifest, {name: one._replace(path=name) for name, one in named.items()})
                self._missing(export)
            elif (members := self._in_zip(found)) is not None:
                self._folder(path, members)
            else:
                self._add(found)
        elif place_in_zip(path) is not None:
            self._add(found_file(path))
        elif os.path.exists(path):
            message = "this is neither a file nor a folder, but a pipe or the like, and data is read more than once"
            self._report(path, "unreadable", message, "write what it gives to a file, and give that")
        else:
            self._report(path, "not-found", "this file or folder does not exist")

    # -- folders, and zips as such

    def _folder(self, folder: str, walked: Iterable[FoundFile]) -> None:
        found = list(self._opened(walked))
        before, notes = len(self.files), _Notes()
        manifests = self._manifests(folder, found)
        by_path = {one.path: one for one in found} if manifests else {}
        exports: dict[str, list[_Export]] = {}
        for one in found:
            if one.outputs:
                self._report(one.path, OWN_OUTPUTS, OUTPUTS_PASSED_OVER, warning=True)
                continue
            if not manifests and one.denied is None and self._plain(one.path, len(folder)):
                if not self._add(one):
                    notes.again.append(one.path)
                continue
            above = _manifest_above(one.path, manifests) if manifests else None
            if one.denied is not None:
                message = f"this cannot be read: {one.denied}; what is in it is not used"
                self._report(one.path, "unreadable", message)
            elif above is not None and one.path in manifests[above]:
                first = manifests[above][one.path]
                if first is not None:
                    exports.setdefault(above, []).append(self._exported(one.path, first, by_path))
            elif not is_clutter(one.path):
                kind = self._kind(one, folder)
                if kind is not None:
                    self._note(notes, kind, one)
                elif above is not None:
                    notes.unlisted.setdefault(above, []).append(one)
                elif not self._add(one):
                    notes.again.append(one.path)
        for above, several in exports.items():
            there = set().union(*(export.there for export in several))
            self._beside(several, [one for one in notes.unlisted.get(above, ()) if one.path not in there])
        self._report_not_read(folder, notes)
        if len(self.files) == before and not notes.again and not exports:
            what = "no JSON or NDJSON file" if found else "no file"
            hint = "patients are read from FHIR's JSON: NDJSON, bundles or resources, packed or not"
            self._report(folder, "no-data-files", f"{what} in this folder", hint)

    def _manifests(self, folder: str, found: list[FoundFile]) -> dict[str, dict[str, ExportManifest | None]]:
        """The manifests among the files of a folder, by folder and path; None stands for the further pages of one."""
        out: dict[str, dict[str, ExportManifest | None]] = {}
        for place in dict.fromkeys(
            os.path.dirname(one.path) for one in found if one.denied is None and not one.outputs
        ):
            if "/." in place[len(folder) :].replace("\\", "/"):
                continue  # what is in hidden folders is not read
            manifests = manifests_in(place)
            if manifests:
                first = first_pages(manifests)
                out[place] = {
                    os.path.join(place, name): one if name in first else None for name, one in manifests.items()
                }
        return out

    def _beside(self, exports: list[_Export], others: list[FoundFile]) -> None:
        """Files beside manifests that none lists, and files that they list and that are not there."""
        renamed = [export for export in exports if others and export.missing and not export.data]
        for export in renamed:
            message = f"the manifest lists {len(export.missing)} files, and none is here under its name; the {len(others)} data files of this folder are read"
            self._report(export.path, "incomplete-export", message, "compare the files with the manifest")
        for export in exports:
            if export not in renamed:
                self._missing(export)
        names = [os.path.basename(export.path) for export in exports]
        lists = f"{names[0]} does not list" if len(names) == 1 else f"neither {' nor '.join(names)} lists"
        for one in others:
            if renamed:
                self._add(one)
                continue
            message = f"{lists} this file, and it is not read"
            hint = "give it with --data besides, where it is data of this export, else move it away"
            self._report(one.path, "not-listed", message, hint)

    def _report_not_read(self, folder: str, notes: _Notes) -> None:
        for kind, paths in notes.kinds.items():
            count, names = _listed(paths, folder)
            self._report(folder, "not-data", f"{count} not read, being {kind.what}: {names}", kind.hint, warning=True)
        if notes.again:
            count, names = _listed(notes.again, folder)
            self._report(folder, "same-file", f"{count} read under another name already: {names}", warning=True)

    def _note(self, notes: _Notes, kind: Kind, found: FoundFile) -> None:
        data = found.path.lower().endswith(SUFFIXES)
        if kind is UNFINISHED:
            message = f"this is {kind.what}, by its name; nothing of it is used"
            self._report(found.path, "unfinished-file", message, kind.hint)
        elif data or kind is not HIDDEN and (kind is not EMPTY or found.bytes):
            notes.kinds.setdefault(kind, []).append(found.path)
            for name in set(_WORD.findall(os.path.basename(found.path))) & all_resource_types():
                self.unread.setdefault(name, (found.path, kind.what))

    def _kind(self, found: FoundFile, folder: str) -> Kind | None:
        """What a file of a folder is that is not read; None for data."""
        below = found.path[len(folder) :].replace("\\", "/").lstrip("/")
        name = os.path.basename(found.path)
        if below.startswith(".") or "/." in below:
            return HIDDEN
        if found.path in self._zips:
            return self._zips[found.path]
        by_name = kind_by_name(name)
        if by_name is not None or name.lower().endswith(SUFFIXES):
            return by_name
        try:
            with open_file(found.path) as stream:
                return kind_of(stream.read(LOOKED_AT) or b"", name)
        except UNREADABLE:
            return None  # reading it tells why

    def _plain(self, path: str, start: int) -> bool:
        """Whether a file is data by its name, as most are; the rest is looked at closely. `start` is the length of the folder's path."""
        return (
            path.lower().endswith(SUFFIXES)
            and path.find("/.", start) < 0
            and path not in self._zips
            and not is_clutter(path)
        )

    # -- zips

    def _opened(self, walked: Iterable[FoundFile]) -> Iterator[FoundFile]:
        """Files, with those in a zip in its place."""
        for one in walked:
            members = self._in_zip(one)
            if members is None:
                yield one
            else:
                yield from members

    def _in_zip(self, found: FoundFile) -> list[FoundFile] | None:
        """The files in a zip of several; None for any other file, which is read under its own name."""
        if found.denied is not None or found.outputs or INSIDE in found.path:
            return None
        try:
            kind_of_packing = packing(beginning_of(found.path, 4))
            if kind_of_packing is not None:
                self._packed.add(found.path)
            if kind_of_packing != "zip":
                return None
            members = members_of(found.path)
        except UNREADABLE:
            return None
        kind = EMPTY if not members else office_kind([one.path for one in members])
        if kind is not None:
            self._zips[found.path] = kind
            return None
        if len(members) == 1 and members[0].denied is None:
            return None
        return [found._replace(path=one.path, bytes=one.bytes, denied=one.denied) for one in members]

    # -- exports

    def _exported(self, path: str, manifest: ExportManifest, found: Mapping[str, FoundFile]) -> _Export:
        """Take the files that a manifest lists, and those that its further pages list."""
        folder = path[: -len(os.path.basename(path))]
        export = _Export(path)
        self.manifests.append(path)
        while True:
            export.there.add(path)
            for text in manifest.noted:
                self._report(path, "incomplete-export", text)
            for one in manifest.files:
                known = next((found[name] for name in _names(folder + one.name) if name in found), None)
                if known is None:
                    export.missing.append(one)
                    continue
                export.there.add(known.path)
                export.data += 1
                if one.count != 0 or known.bytes:
                    self._add(known, one.count)
            if manifest.next is None:
                return export
            name = folder + file_name(manifest.next)
            page = next((text for text in (name, f"{name}.json") if text in found and text not in export.there), "")
            following = export_manifest(page) if page else None
            if following is None:
                message = f"the manifest goes on at {manifest.next:.200}, and that is not here: files of the export are missing"
                self._report(path, "incomplete-export", message, "fetch that page of the manifest, and its files")
                return export
            path, manifest = page, following

    def _missing(self, export: _Export) -> None:
        folder = export.path[: -len(os.path.basename(export.path))]
        for one in export.missing:
            message = f"{os.path.basename(export.path)} lists this file, but it is not there"
            self._report(folder + one.name, "not-found", message, _EXPORT_AGAIN)

    def _add(self, found: FoundFile, resources: int | None = None) -> bool:
        """Take a file; False where it was taken already."""
        if found.identity is not None and found.identity[1]:
            key = (*found.identity[:2], found.bytes, found.changed, found.path.partition(INSIDE)[2])
            if key in self._seen:
                return False
            self._seen.add(key)
        packed = found.path in self._packed or INSIDE in found.path and found.path.lower().endswith(PACKED)
        self.files.append(DataFile(found, resources, packed))
        return True


def _manifest_above(path: str, manifests: Mapping[str, object]) -> str | None:
    """The folder, of those with a manifest, in which a file stands, itself or by folders between."""
    folder = os.path.dirname(path)
    while folder not in manifests:
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _names(path: str) -> tuple[str, ...]:
    """Under which names a file of a manifest may be there: it may have been packed since."""
    return (path, *(path + suffix for suffix in PACKED))


def _listed(files: Sequence[str] | Sequence[FoundFile], folder: str) -> tuple[str, str]:
    """How many files, and the names of the first, for a message."""
    paths = [one if isinstance(one, str) else one.path for one in files]
    shown = ", ".join(path[len(folder) :].lstrip("/\\!") for path in paths[:NAMED])
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return "1 file here is" if len(paths) == 1 else f"{len(paths)} files here are", shown + more

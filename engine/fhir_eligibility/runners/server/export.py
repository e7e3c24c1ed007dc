"""One export from a FHIR server into a folder: started or gone on with, waited for, downloaded, checked.

The folder can be screened as soon as its manifest is there. A run that is killed at any moment goes on where it
stopped when it is started again in the same way.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct, field

from fhir_eligibility.data.files.export_manifest import MANIFEST, noted_problems, read_manifest
from fhir_eligibility.data.records.outcomes import FATAL, issue_text, issues_of
from fhir_eligibility.data.records.values import values_in
from fhir_eligibility.data.server.client import Server, ServerError, Stopped
from fhir_eligibility.data.server.download import ExportLinks, Written, count_lines, download, existing
from fhir_eligibility.data.server.export import CompletedExport, ExportRequest, cancel, poll, start
from fhir_eligibility.data.server.folder import (
    STATE,
    ExportState,
    clear,
    file_names,
    foreign_files,
    new_state,
    read_state,
    write_manifest,
    write_state,
)
from fhir_eligibility.data.server.search import count_of
from fhir_eligibility.output.folder import locked_folder

CONNECTIONS = 4


class ExportProgress(Struct):
    """What is told while an export runs: `say` gets whole sentences, `step` files done, files in all, and bytes
    received.
    """

    say: Callable[[str], None] = lambda text: None
    step: Callable[[int, int, int], None] = lambda done, files, received: None


class ExportResult(Struct):
    """What an export came to. `problems` are sentences; `resumed` tells that files of an earlier run were used."""

    files: int = 0
    bytes: int = 0
    resources: Counter[str] = field(default_factory=Counter)
    deleted: int = 0
    problems: list[str] = field(default_factory=list)
    resumed: bool = False


class Cancelled(KeyboardInterrupt):
    """The run was interrupted; the message says what became of the export."""


def run_export(
    server: Server,
    request: ExportRequest,
    out: Path,
    *,
    connections: int = CONNECTIONS,
    restart: bool = False,
    longest: float | None = None,
    progress: ExportProgress | None = None,
    shared: bool = False,
) -> ExportResult:
    """Export into a folder; `shared` lets others than their owner read the files, as the umask says.

    Raises ServerError, OSError, FolderInUse (a ValueError) where another run writes into the folder, and Cancelled where the run is interrupted.
    Interrupted while the server prepares, the export is cancelled there; interrupted later, what was received stays,
    and the same call goes on with it.
    """
    tell = progress or ExportProgress()
    found = foreign_files(out)
    if found and not (out / STATE).exists() and not restart:
        raise _not_empty(out, found)
    with locked_folder(out, "export", shared=shared):
        return _export(server, request, out, connections, restart, longest, tell)


def _export(
    server: Server,
    request: ExportRequest,
    out: Path,
    connections: int,
    restart: bool,
    longest: float | None,
    tell: ExportProgress,
) -> ExportResult:
    state = _state(server, request, out, restart)
    result = ExportResult(resumed=state is not None)
    if state is None:
        status_url = start(server, request)
        state = new_state(server.base, request, status_url)
        write_state(out, state)
        tell.say("the server has accepted the export")
    elif state.complete and (out / MANIFEST).exists() and all(existing(out, name) for name in state.names or ()):
        tell.say("the export is complete already (--restart makes a new one)")
        _count_existing(out, state, result)
        return result
    else:
        tell.say("going on with the export that was started before")
    with _interruptible(server) as interrupted:
        try:
            manifest = _wait(server, state, longest, tell)
        except ServerError:
            if not interrupted.is_set():
                raise
            server.stopping.clear()
            done = _cancelled(server, state)
            clear(out, state)
            raise Cancelled(f"interrupted; the export was {'cancelled' if done else 'left'} on the server") from None
        if state.names is None:
            state.names = file_names(manifest)
            write_state(out, state)
        elif state.names != file_names(manifest):
            raise ServerError("the server now lists other files for this export; start again with --restart")
        try:
            written = _fetch(server, state, manifest, out, connections, tell)
        except ServerError:
            if not interrupted.is_set():
                raise
            raise Cancelled("interrupted; the same command goes on with the downloads") from None
    _conclude(server, request, manifest, written, result)
    names = [(found.path.name, found.count) for found in written]
    write_manifest(out, server.base, request, manifest, names, result.problems)
    state.complete = True
    write_state(out, state)
    return result


def _state(server: Server, request: ExportRequest, out: Path, restart: bool) -> ExportState | None:
    """The export to go on with, None where a new one is to be started. Raises ServerError where the folder holds
    anything else.
    """
    try:
        state = read_state(out)
    except ServerError:
        if not restart:
            raise
        state = None
    if restart:
        if state is not None and server.base == state.base:
            _cancelled(server, state)
        clear(out, state)
        state = None
    if state is None:
        found = foreign_files(out)
        if found:
            raise _not_empty(out, found)
        return None
    if not state.matches(server.base, request):
        raise ServerError(f"{out} holds another export; name another folder, or replace it with --restart")
    return state


def _not_empty(out: Path, found: list[str]) -> ServerError:
    return ServerError(f"{out} is not empty ({', '.join(found[:3])}); an export needs a folder of its own")


def _cancelled(server: Server, state: ExportState) -> bool:
    try:
        return cancel(server, state.status_url)
    except ServerError:
        return False


def _wait(server: Server, state: ExportState, longest: float | None, tell: ExportProgress) -> CompletedExport:
    return poll(
        server,
        state.status_url,
        longest=longest,
        on_progress=lambda said, delay: tell.say(
            f"the server prepares the export: {said} (next look in {delay:.0f} s)"
        ),
    )


def _fetch(
    server: Server, state: ExportState, manifest: CompletedExport, out: Path, connections: int, tell: ExportProgress
) -> list[Written]:
    """All files, at most `connections` at a time; stops at the first that fails for good."""
    links = ExportLinks(server, state.status_url, manifest)
    names = state.names or []
    written: dict[int, Written] = {}
    lock = threading.Lock()
    received = 0

    def on_bytes(count: int) -> None:
        nonlocal received
        with lock:
            received += count
            tell.step(len(written), len(names), received)

    def one(index: int) -> None:
        there = existing(out, names[index])
        if there is not None:
            count, _ = count_lines(there, there.suffix == ".gz")
            found = Written(there, count, there.stat().st_size)
        else:
            found = download(links, index, out, names[index], on_bytes)
        with lock:
            written[index] = found
            tell.step(len(written), len(names), received)

    with ThreadPoolExecutor(max(1, connections), thread_name_prefix="export") as pool:
        futures = [pool.submit(one, index) for index in range(len(names))]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            errors = [error for future in done if (error := future.exception()) is not None]
        finally:
            for future in futures:
                future.cancel()
            if len(written) < len(names):
                server.stopping.set()
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])
    return [written[index] for index in range(len(names))]


@contextmanager
def _interruptible(server: Server) -> Iterator[threading.Event]:
    """Ctrl-C stops waiting and downloads in order; a second one stops at once. The event tells that one came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(number: int, frame: object) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()
        server.stopping.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _count_existing(out: Path, state: ExportState, result: ExportResult) -> None:
    for name in state.names or ():
        path = existing(out, name)
        result.files += 1
        result.bytes += path.stat().st_size if path is not None else 0
    manifest = read_manifest(out / MANIFEST) or {}
    for item in manifest.get("output", ()):
        result.resources[item["type"]] += item["count"]
    result.deleted = sum(item["count"] for item in manifest.get("deleted", ()))
    result.problems.extend(noted_problems(out / MANIFEST))


def _conclude(
    server: Server, request: ExportRequest, manifest: CompletedExport, written: list[Written], result: ExportResult
) -> None:
    """Count what came, and collect what is odd about it."""
    for file, found in zip(manifest.files, written, strict=True):
        result.files += 1
        result.bytes += found.bytes
        if found.problem is not None:
            result.problems.append(f"{found.path.name}: {found.problem}")
        if file.section == "output":
            result.resources[file.type] += found.count
        elif file.section == "deleted":
            result.deleted += found.count
        else:
            result.problems.extend(_reported(found.path))
    result.problems.extend(_lacking(server, request, manifest, result.resources))


def _reported(path: Path) -> list[str]:
    """What the server itself says went wrong with parts of the export (the `error` files of a manifest)."""
    out: Counter[str] = Counter()
    for value in values_in(str(path), lambda problem: None):
        for issue in issues_of(value.data):
            if issue.get("severity") in (*FATAL, "warning"):
                out[f"the server reports: {issue.get('severity')}: {issue_text(issue)}"] += 1
    return [text if count == 1 else f"{text} ({count} times)" for text, count in out.items()]


def _lacking(server: Server, request: ExportRequest, manifest: CompletedExport, resources: Counter[str]) -> list[str]:
    """Types of which the server's search finds more than it exported: it did not read `_typeFilter` as it is meant.

    Only an export of everything can be compared, and only where the server's search understands the question.
    """
    if request.level != "system" or request.since or not manifest.transaction_time:
        return []
    out = []
    for kind in request.types:
        asked = [text.partition("?")[2] for text in request.type_filters if text.startswith(f"{kind}?")]
        counts = [count_of(server, kind, query, manifest.transaction_time) for query in _joined(asked) or [""]]
        if not counts or None in counts:
            continue
        # Alternatives with different parameters may find the same resource: each is at most the whole.
        least = max(count for count in counts if count is not None)
        if resources[kind] < least:
            what = " by _typeFilter" if asked else ""
            out.append(
                f"{kind}: the export holds {resources[kind]}{what}, but the server's search finds {least}; "
                + ("export the types whole (--no-type-filter)" if asked else "the export is not complete")
            )
    return out


def _joined(queries: list[str]) -> list[str]:
    """Searches for the values of the same parameter as one search for any of them."""
    values: dict[str, list[str]] = {}
    for query in queries:
        name, _, value = query.partition("=")
        values.setdefault(name, []).append(value)
    return [f"{name}={','.join(found)}" for name, found in values.items()]

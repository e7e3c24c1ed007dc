"""A Bulk Data export as its client sees it: kick-off, status, manifest, cancellation (Bulk Data Access 2.0,
"Export").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urljoin

import msgspec
from msgspec import Struct

from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.http.retry_after import seconds_to_wait
from fhir_eligibility.data.records.outcomes import is_transient
from fhir_eligibility.data.server.client import AGAIN, FHIR_JSON, Server, ServerError, decode, failure

Level = Literal["system", "patient", "group"]
Section = Literal["output", "deleted", "error"]
SECTIONS: tuple[Section, ...] = ("output", "deleted", "error")
FORMATS = ("application/fhir+ndjson", "application/ndjson", "ndjson")
SHORTEST, LONGEST = 0.5, 60.0  # seconds between two looks at the status, where the server does not say
MANIFESTS = 10_000  # linked manifests of one export
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class ExportGone(ServerError):
    """The server no longer knows the export, or it failed: it has to be started again."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export. `type_filters` are searches such as `Observation?code=...`; the ones of a type are
    alternatives.
    """

    level: Level = "system"
    group: str | None = None
    types: tuple[str, ...] = ()
    type_filters: tuple[str, ...] = ()
    since: str | None = None
    output_format: str = FORMATS[0]

    def __post_init__(self) -> None:
        if (self.level == "group") != (self.group is not None):
            raise ValueError("an export of a group names the group, and no other does")
        if self.group is not None and not _ID.fullmatch(self.group):
            raise ValueError(f"expected the id of a Group, found {self.group!r}")
        if self.output_format not in FORMATS:
            raise ValueError(f"{self.output_format!r} cannot be read here; write {FORMATS[0]}")

    @property
    def path(self) -> str:
        """The operation, below the server's base."""
        if self.level == "group":
            return f"Group/{self.group}/$export"
        return "Patient/$export" if self.level == "patient" else "$export"

    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of the kick-off; filters are repeated, because a comma may stand inside of one."""
        out = [("_outputFormat", self.output_format)]
        if self.types:
            out.append(("_type", ",".join(self.types)))
        out.extend(("_typeFilter", text) for text in self.type_filters)
        if self.since:
            out.append(("_since", self.since))
        return out

    def as_json(self) -> dict[str, Any]:
        """The request, to be told from another one."""
        return asdict(self)


class ExportFile(Struct, frozen=True):
    """One file of a manifest; `url` may be signed and is kept in memory only."""

    section: Section
    type: str
    url: str
    count: int | None


class CompletedExport(Struct, frozen=True):
    """A complete export."""

    transaction_time: str
    requires_token: bool
    files: tuple[ExportFile, ...]

    def same_files(self, other: CompletedExport) -> bool:
        """Whether another manifest lists the same files, whatever their addresses."""
        return [(f.section, f.type, f.count) for f in self.files] == [(f.section, f.type, f.count) for f in other.files]


def start(server: Server, request: ExportRequest) -> str:
    """Kick off an export; the address of its status. Raises ServerError with what the server says."""
    url = server.url(request.path)
    headers = {"Accept": FHIR_JSON, "Prefer": "respond-async"}
    # A kick-off is repeated only where the server says that it did not start: 429 and 503.
    again = frozenset((429, 503))
    response = server.request("GET", url, parameters=request.parameters(), headers=headers, again=again)
    if response.status == 405:
        content = msgspec.json.encode(_parameters(request))
        headers["Content-Type"] = FHIR_JSON
        response = server.request("POST", url, headers=headers, content=content, again=again)
    if response.status != 202:
        if response.is_success:
            raise ServerError(f"{shown(url)}: the server answered {response.status} at once, not 202: is it $export?")
        found = failure(response, shown(url))
        if request.type_filters and response.status in (400, 422, 501):
            found = ServerError(
                f"{found} (the types can be exported whole instead: leave _typeFilter out)", found.status
            )
        raise found
    location = str(response.headers.get("Content-Location", "")).strip()
    if not location:
        raise ServerError(
            f"{shown(url)}: the server accepted the export but names no status address (Content-Location)"
        )
    return urljoin(url, location)


def _parameters(request: ExportRequest) -> dict[str, Any]:
    """The kick-off as a Parameters resource, for servers that take it by POST only."""
    kinds = {"_since": "valueInstant"}
    listed = [{"name": name, kinds.get(name, "valueString"): value} for name, value in request.parameters()]
    return {"resourceType": "Parameters", "parameter": listed}


def poll(
    server: Server,
    status_url: str,
    *,
    on_progress: Callable[[str, float], None],
    longest: float | None = None,
) -> CompletedExport:
    """Wait until an export is complete. `on_progress` is told what the server says and when the next look is.

    Between two looks are at most `server.patience.longest` seconds, whatever the server asks for.
    Raises ExportGone where the export failed or is unknown, ServerError where waiting took more than `longest` seconds.
    """
    waited, looks = 0.0, 0
    while True:
        # 500 tells that the export failed, unless the server says that it will pass.
        response = server.request("GET", status_url, headers={"Accept": "application/json"}, again=AGAIN - {500})
        status = response.status
        if status == 200:
            return _whole(server, decode(response.content, "manifest of the export"), status_url)
        if status != 202 and not (status == 500 and _passes(response.content)):
            raise _gone(failure(response, "status of the export"))
        said = response.headers.get("X-Progress", "").strip()[:100] or "in progress"
        after = seconds_to_wait(response.headers.get("Retry-After"))
        asked = after if after is not None else min(LONGEST, 2.0**looks)
        delay = min(max(asked, SHORTEST), server.patience.longest)
        if longest is not None and waited + delay > longest:
            raise ServerError(
                f"the export is not complete after {waited:.0f} seconds ({said}); "
                "the same command goes on waiting for it"
            )
        on_progress(said, delay)
        server.wait(delay)
        waited, looks = waited + delay, looks + 1


def _gone(found: ServerError) -> ServerError:
    if found.status in (404, 410):
        return ExportGone(f"{found}: the server no longer has the export; it must be started again", found.status)
    if found.status in (401, 403, 429, 502, 503, 504):
        return found
    return ExportGone(f"{found}: the export failed; it must be started again", found.status)


def _passes(body: bytes) -> bool:
    try:
        return is_transient(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def cancel(server: Server, status_url: str) -> bool:
    """Tell the server that the export is no longer wanted; whether it said that it understood."""
    response = server.request("DELETE", status_url, headers={"Accept": FHIR_JSON}, again=frozenset((429,)))
    return response.is_success or response.status in (404, 410)


def _whole(server: Server, answer: Any, place: str) -> CompletedExport:
    """A manifest with all that it links to (`link` with relation next)."""
    found = _manifest(answer, place)
    seen: set[str] = set()
    files = list(found.files)
    while (following := _next(answer, place)) is not None:
        if following in seen or len(seen) >= MANIFESTS:
            raise ServerError("the manifests of the export are linked in a circle")
        seen.add(following)
        answer = server.json("GET", following, what="manifest of the export", headers={"Accept": "application/json"})
        place = following
        files.extend(_manifest(answer, place).files)
    return CompletedExport(found.transaction_time, found.requires_token, tuple(files))


def _next(answer: Any, place: str) -> str | None:
    for link in _array(answer, "link"):
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(urljoin(place, link["url"]))
    return None


def _array(answer: dict[str, Any], name: str) -> list[Any]:
    """An array of a manifest, which may be left out. Raises ServerError where it is something else."""
    found = answer.get(name)
    if found is not None and not isinstance(found, list):
        raise ServerError(f"the manifest of the export has no array in {name}, but {type(found).__name__}")
    return found or []


def _manifest(answer: Any, place: str) -> CompletedExport:
    if not isinstance(answer, dict) or not isinstance(answer.get("output"), list):
        raise ServerError("the manifest of the export has no output; is the status address one of an export?")
    requires = answer.get("requiresAccessToken")
    if not isinstance(requires, bool):
        raise ServerError("the manifest of the export does not say requiresAccessToken")
    files = []
    for section in SECTIONS:
        for item in _array(answer, section):
            if not isinstance(item, dict):
                raise ServerError(f"the manifest of the export: expected objects in {section}, found {item!r:.60}")
            url, kind, count = item.get("url"), item.get("type"), item.get("count")
            default = {"deleted": "Bundle", "error": "OperationOutcome"}.get(section)
            kind = kind if isinstance(kind, str) else default
            if not isinstance(url, str) or kind is None or not re.fullmatch(r"[A-Za-z]{1,64}", kind):
                raise ServerError(f"the manifest of the export has a file without url or type in {section}")
            files.append(ExportFile(section, kind, urljoin(place, url), count if isinstance(count, int) else None))
    return CompletedExport(str(answer.get("transactionTime", "")), requires, tuple(files))

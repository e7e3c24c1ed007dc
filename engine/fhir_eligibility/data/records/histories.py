"""Bundles of type history: versions of resources and deletions, the newest first (FHIR R4: http.html#history); what counts of each is told here.

The time of a version is its `meta.lastUpdated`, else the `lastModified` of its entry's response; that of a deletion is the latter. Where an entry has neither,
its place in the bundle tells.
"""

from __future__ import annotations

import re
from typing import Any

from fhir_eligibility.artifacts.references import meaning_of
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.identity import address_of, id_of
from fhir_eligibility.data.records.lifecycle import Said, moment_of, newer, newest, version_number

Resource = dict[str, Any]
_ETAG = re.compile(r'(?:W/)?"?([^"]*)"?')


def is_deletion(entry: Resource) -> bool:
    """Whether an entry of a bundle deletes."""
    request = entry.get("request")
    method = request.get("method") if request.__class__ is dict else None
    return method.__class__ is str and method.strip().upper() == "DELETE"


def is_patch(entry: Resource, bundle_type: Any) -> bool:
    """Whether an entry of a bundle changes a record in a way that is not worked out here.

    A history may hold what the patch made of the record; a transaction or a batch never does.
    """
    request = entry.get("request")
    method = request.get("method") if request.__class__ is dict else None
    if method.__class__ is not str or method.strip().upper() != "PATCH":
        return False
    resource: Any = entry.get("resource")
    whole = resource.__class__ is dict and resource.get("resourceType") not in ("Parameters", "Binary")
    return not whole or bundle_type in ("transaction", "batch")


def entry_version(entry: Resource) -> str | None:
    """The version that the response of an entry names."""
    response = entry.get("response")
    if response.__class__ is not dict:
        return None
    etag, location = response.get("etag"), response.get("location")
    match = _ETAG.fullmatch(etag.strip()) if etag.__class__ is str else None
    if match is not None and match[1]:
        return match[1]
    return meaning_of(location).version if location.__class__ is str else None


def modified(entry: Resource) -> str | None:
    """When an entry's resource was changed, by its response."""
    response = entry.get("response")
    found = response.get("lastModified") if response.__class__ is dict else None
    return found if found.__class__ is str else None


def put_id(method: Any, url: Any, kind: Any) -> str | None:
    """The id under which an entry writes a resource of a type (FHIR R4: http.html#update), None where its request names none."""
    if method.__class__ is not str or method.strip().upper() != "PUT" or url.__class__ is not str or "?" in url:
        return None
    found = meaning_of(url)
    return found.id if found.form == "address" and found.kind == kind else None


def with_put_ids(entries: list[Any]) -> tuple[list[Any], list[int]]:
    """The entries of a bundle, with the ids under which they write resources that have none, and the numbers of those that have their id from there."""
    numbers: list[int] = []
    out = entries
    for number, entry in enumerate(entries):
        resource: Any = entry.get("resource") if entry.__class__ is dict else None
        request = entry.get("request") if resource.__class__ is dict and "id" not in resource else None
        if request.__class__ is dict:
            identifier = put_id(request.get("method"), request.get("url"), resource.get("resourceType"))
            if identifier is not None:
                out = list(entries) if out is entries else out
                head = {"resourceType": resource["resourceType"], "id": identifier}
                out[number] = {**entry, "resource": {**head, **resource}}
                numbers.append(number)
    return out, numbers


def dated(resource: Resource, entry: Resource) -> Resource:
    """A version of a resource, with the time and the version that its entry tells where it tells none itself."""
    meta = resource.get("meta")
    known = meta if meta.__class__ is dict else {}
    more = {
        name: value
        for name, value in (("lastUpdated", modified(entry)), ("versionId", entry_version(entry)))
        if value is not None and name not in known
    }
    return {**resource, "meta": {**known, **more}} if more else resource


def superseded(entries: list[Any]) -> frozenset[int]:
    """The entries of a history bundle that others come after, by their numbers."""
    same: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        name = _name(entry) if entry.__class__ is dict else None
        if name is not None:
            same.setdefault(name, []).append(number)
    gone: set[int] = set()
    for numbers in same.values():
        if len(numbers) > 1:
            # what a patch changes counts beside it
            patches = [number for number in numbers if is_patch(entries[number], "history")]
            left = [number for number in numbers if number not in patches]
            said = [_said(entries[number], -number) for number in left]
            gone.update(set(left) - {left[place] for place in newest(said)} if left else ())
            for number in patches:
                patch = _said(entries[number], -number)
                gone.update((number,) if any(newer(one, patch) for one in said) else ())
    return frozenset(gone)


def _name(entry: Resource) -> str | None:
    """By which the versions of one resource are known in a bundle: `Type/id`, or a urn."""
    full_url, request = entry.get("fullUrl"), entry.get("request")
    resource: Any = entry.get("resource")
    if resource.__class__ is dict and id_of(resource) is not None:
        return f"{resource.get('resourceType')}/{id_of(resource)}"
    texts = [full_url, request.get("url") if request.__class__ is dict else None]
    for text in texts:
        if text.__class__ is str:
            found = meaning_of(text)
            if found.form == "address":
                return found.path
            if address_of(text) is not None:
                return found.id
    return None


def _said(entry: Resource, rank: int) -> Said:
    gone = is_deletion(entry)
    resource = entry.get("resource")
    meta = resource.get("meta") if resource.__class__ is dict and not gone else None
    known = meta if meta.__class__ is dict else {}
    return Said(
        gone,
        moment_of(known.get("lastUpdated") or modified(entry)),
        version_number(known.get("versionId") or entry_version(entry)),
        bundle=("history",),
        rank=rank,
        content=str(rank).encode(),
    )


def deletion_of(entry: Resource, bundle: Resource, written: dict[int, str], *, patch: bool = False) -> Deletion:
    """The deletion (or patch) that an entry tells, with what dates it: the response, or the bundle that lists deletions; `written` is as `written_in` gives it."""
    request = entry.get("request")
    url = request.get("url") if request.__class__ is dict else None
    full_url = entry.get("fullUrl")
    meta = bundle.get("meta")
    of_bundle = (bundle.get("timestamp"), meta.get("lastUpdated") if meta.__class__ is dict else None)
    moment = modified(entry) or next((text for text in of_bundle if text.__class__ is str), None)
    return Deletion(
        url if url.__class__ is str else "" if url is None else str(url),
        full_url if full_url.__class__ is str else None,
        moment=moment,
        version=entry_version(entry),
        written=written,
        patch=patch,
    )


def written_in(bundle: Resource, entries: list[Any]) -> dict[int, str]:
    """The entries of a transaction or batch that create or change a resource, by number, with their methods."""
    written: dict[int, str] = {}
    if bundle.get("type") in ("transaction", "batch"):
        for number, entry in enumerate(entries):
            request = entry.get("request") if entry.__class__ is dict and "resource" in entry else None
            method = request.get("method") if request.__class__ is dict else None
            if method.__class__ is str and method in ("POST", "PUT"):
                written[number] = method
    return written

"""References inside the input of an expression: contained resources and the entries of a Bundle.

FHIR ("Resolving references in Bundles"): a relative reference is made absolute with the root of the entry it stands in; a versioned
one finds the entry whose meta.versionId it names. What lies beyond the input is asked of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fhir_eligibility.artifacts.references import RESTFUL, root_of

Resource = dict[str, Any]
Resolver = Callable[[str], "Resource | None"]


class References:
    """Finds what references inside one resource refer to. Indexes are built when the first reference is asked for."""

    def __init__(self, root: Any, beyond: Resolver | None = None) -> None:
        self._root = root if root.__class__ is dict else {}
        self._beyond = beyond
        self._owners: dict[int, tuple[Resource, str | None]] | None = None
        self._entries: dict[str, list[Resource]] = {}

    def find(self, reference: str, holder: Any) -> Resource | None:
        """The resource that `reference` means, as it stands in `holder` (the Reference object or the text itself)."""
        owner, full_url = self._owner(holder)
        if reference.startswith("#"):
            return _contained(owner, reference[1:])
        found = self._in_bundle(reference, full_url)
        if found is None and self._beyond is not None:
            found = self._beyond(reference)
        return found

    def _owner(self, holder: Any) -> tuple[Resource, str | None]:
        if self._owners is None:
            self._owners = {}
            if self._root.get("resourceType") == "Bundle":
                for entry in self._root.get("entry") or ():
                    resource, full_url = entry.get("resource"), entry.get("fullUrl")
                    if resource is None:
                        continue
                    keys = [full_url] if full_url else []
                    if "id" in resource:
                        keys.append(f"{resource.get('resourceType')}/{resource['id']}")
                    for key in keys:
                        self._entries.setdefault(key, []).append(resource)
                    for value in _holders(resource):
                        self._owners[id(value)] = (resource, full_url)
        return self._owners.get(id(holder), (self._root, None))

    def _in_bundle(self, reference: str, full_url: str | None) -> Resource | None:
        if not self._entries:
            return None
        match = RESTFUL.fullmatch(reference)
        if match is None:
            return _only(self._entries.get(reference))
        root = match["root"]
        if root is None:
            root = root_of(full_url)
            if root is None:
                return _only(self._entries.get(match["path"])) if full_url is None else None
        candidates = self._entries.get(root + match["path"])
        if match["version"] is not None and candidates:
            candidates = [r for r in candidates if r.get("meta", {}).get("versionId") == match["version"]]
        return _only(candidates)


def _only(candidates: list[Resource] | None) -> Resource | None:
    return candidates[0] if candidates else None


def _contained(owner: Resource, name: str) -> Resource | None:
    if not name:
        return owner
    for resource in owner.get("contained") or ():
        if resource.get("id") == name:
            return resource  # type: ignore[no-any-return]
    return None


def _holders(resource: Resource) -> Iterator[Any]:
    """Every object and text below a resource that can hold a reference."""
    stack: list[Any] = [resource]
    while stack:
        value = stack.pop()
        if value.__class__ is dict:
            if "reference" in value:
                yield value
                yield value["reference"]
            stack.extend(value.values())
        elif value.__class__ is list:
            stack.extend(value)

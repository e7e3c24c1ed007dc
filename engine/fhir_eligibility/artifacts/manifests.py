"""Manifests: which versions of value sets and code systems a run is to use (FHIR: Library as asset collection; expansion parameters).

Two forms are read: a Library whose `relatedArtifact` of type `depends-on` names canonicals with their versions, and Parameters as they are
handed to `ValueSet/$expand`. A Library may hold such Parameters as a contained resource; both count.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.shape import checked, pointer

Json = dict[str, Any]
MANIFEST_TYPES = ("asset-collection", "module-definition")
_DEFAULTS = ("system-version", "default-valueset-version", "canonicalVersion")
_CHECKS = ("check-system-version", "check-valueset-version", "checkCanonicalVersion")
_FORCED = ("force-system-version", "force-valueset-version", "forceCanonicalVersion")


class Manifest(Struct):
    """Versions by canonical url. `forced` ones replace a version that a definition states, `checked` ones must agree with it.

    Of a url with two versions (`contradicted`) neither counts: a manifest may list two versions of a library, which are no business here.
    """

    versions: dict[str, str] = field(default_factory=dict)
    forced: set[str] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)
    contradicted: dict[str, tuple[str, str]] = field(default_factory=dict)
    name: str | None = None

    def version(self, url: str) -> str | None:
        """The version for a url, None where the manifest names none."""
        return self.versions.get(url)


def read_manifest(resource: Json, place: str) -> Manifest:
    """A manifest from a Library or Parameters. Raises ValueError for anything else, and where it names no version at all."""
    kind = resource.get("resourceType")
    sound = checked(resource) if kind in ("Library", "Parameters") else None
    for one in sound.errors if sound is not None else ():
        hint = f"; {one.hint}" if one.hint else ""
        raise ValueError(f"{place}: {pointer(str(kind), one.path)}: {one.message}{hint}")
    resource = sound.resource if sound is not None else resource
    found = Manifest(name=place)
    if kind == "Parameters":
        _parameters(resource, found)
    elif kind == "Library":
        codes = [coding.get("code") for coding in (resource.get("type") or {}).get("coding") or ()]
        if not set(codes) & set(MANIFEST_TYPES):
            shown = ", ".join(map(str, codes)) or "none"
            raise ValueError(
                f"{place}: a manifest is a Library of type {' or '.join(MANIFEST_TYPES)}; this type is {shown}"
            )
        for contained in resource.get("contained") or ():
            if contained.get("resourceType") == "Parameters":
                _parameters(contained, found)
        for related in resource.get("relatedArtifact") or ():
            canonical = related.get("resource") or related.get("resourceReference", {}).get("reference")
            if related.get("type") == "depends-on" and isinstance(canonical, str):
                _pin(found, canonical)
    else:
        raise ValueError(f"{place}: a manifest is a Library or Parameters, not {kind or 'JSON without a resourceType'}")
    if not found.versions and not found.contradicted:
        raise ValueError(f"{place}: the manifest names no version; write canonical|version")
    return found


def _parameters(resource: Json, found: Manifest) -> None:
    for parameter in resource.get("parameter") or ():
        name = parameter.get("name")
        value = next(
            (parameter[key] for key in ("valueCanonical", "valueUri", "valueString") if key in parameter), None
        )
        if name in (*_DEFAULTS, *_CHECKS, *_FORCED) and isinstance(value, str):
            url = _pin(found, value)
            if url is not None and name in _FORCED:
                found.forced.add(url)
            elif url is not None and name in _CHECKS:
                found.checked.add(url)


def _pin(found: Manifest, canonical: str) -> str | None:
    """Note the version of `canonical|version`; the url, None where there is no version, or where another one was named."""
    url, _, version = canonical.partition("|")
    if not version or url in found.contradicted:
        return None
    known = found.versions.setdefault(url, version)
    if known != version:
        found.contradicted[url] = known, version
        del found.versions[url]
        found.forced.discard(url)
        found.checked.discard(url)
        return None
    return url

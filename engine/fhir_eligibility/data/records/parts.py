"""Exports of some elements of resources only (`_elements` of Bulk Data): each resource is read as one that is marked as a part (`meta.tag` SUBSETTED), whether the server wrote that or not."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from fhir_eligibility.data.files.export_manifest import manifests_in
from fhir_eligibility.data.files.json_text import BAD_JSON, check_encoding, whole
from fhir_eligibility.data.records.in_doubt import PART, tagged
from fhir_eligibility.data.records.record_shape import holds_doubles

_TAG = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": PART}
_CONTAINERS = frozenset(("Bundle", "Parameters", "OperationOutcome"))
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Parts:
    """Marks the resources of an export of which only some elements were asked for: of those `types`, None for any."""

    def __init__(self, types: frozenset[str] | None) -> None:
        self.types = types

    def marked(self, text: bytes) -> bytes:
        """The text of a resource, or of a document that holds some, with the resources marked; the same where it is damaged."""
        try:
            check_encoding(text)
            data = whole(text)
        except BAD_JSON:
            return text
        if data.__class__ not in (dict, list) or holds_doubles(text, data):
            return text
        return _encode(data) if self._mark(data) else text

    def _mark(self, data: Any) -> bool:
        """Mark all resources in something decoded; gives whether there was one to mark."""
        found = False
        waiting = [data]
        while waiting:
            item = waiting.pop()
            if item.__class__ is list:
                waiting.extend(item)
            elif item.__class__ is dict:
                kind = item.get("resourceType")
                if kind.__class__ is not str or kind in _CONTAINERS:
                    waiting.extend(below for below in item.values() if below.__class__ in (dict, list))
                elif (self.types is None or kind in self.types) and not tagged(item, PART):
                    meta = item.get("meta")
                    known = meta if meta.__class__ is dict else {}
                    tags = known.get("tag")
                    item["meta"] = {**known, "tag": [*(tags if tags.__class__ is list else ()), _TAG]}
                    found = True
        return found


def parts_of(path: str) -> Parts | None:
    """What marks the resources of a file; None where its export holds resources whole, as far as the manifests beside it tell: those that list it, else all."""
    folder, name = os.path.split(path)
    manifests = list(manifests_in(folder).values())
    manifests = [one for one in manifests if one.lists(name)] or manifests if len(manifests) > 1 else manifests
    asked = [element for one in manifests for element in one.elements or ()]
    if not asked:
        return None
    types = frozenset(one.partition(".")[0] for one in asked if one[:1].isupper() and "." in one)
    return Parts(types if all(one.partition(".")[0] in types for one in asked) else None)

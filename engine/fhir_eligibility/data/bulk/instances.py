"""The instances of imaging studies as an export is read: thousands of DICOM UIDs a second, of which a verdict only lists the text.

Where nothing but the UIDs of a study's instances is wanted (`TypePlan.lazy`) and the UIDs of its series and instances are plain - valid as they stand or
after `urn:oid:`, and different - each series holds those of its instances under UIDS as JSON text, an array of strings, that goes into the output as it is.
Any other study keeps its instances.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_eligibility.data.archives.uids import arrays_of

UIDS = "#uids"
"""Where a series that was read has the JSON text of its instances' UIDs: a name that no element has. Its own UID is plain then."""
LISTED = "#listed"
"""Where a study that was read so says how many instances it lists, if that is another number than its `numberOfInstances`."""

_OID = "urn:oid:"


class DecodedInstance(msgspec.Struct, gc=False):
    """One instance as it is decoded."""

    uid: Any = None


def gather(study: dict[str, Any]) -> None:
    """Put the UIDs of the instances of a study, decoded as `Instance`, in the place of the instances."""
    series = study.get("series")
    if not series:
        return
    own = [one.get("uid") for one in series]
    written = [[instance.uid for instance in one.pop("instance", ())] for one in series]
    plain = own, written
    first = own[0]
    if first.__class__ is str and first.startswith(_OID) or written[0] and str(written[0][0]).startswith(_OID):
        plain = _without_oid(own), [_without_oid(texts) for texts in written]
    arrays = arrays_of(*plain)
    if arrays is not None:
        listed = sum(map(len, written))
        if listed != study.get("numberOfInstances"):
            study[LISTED] = listed
        for one, uid, array in zip(series, plain[0], arrays, strict=True):
            one["uid"] = uid
            one[UIDS] = msgspec.Raw(array.encode())
    else:
        for one, texts in zip(series, written, strict=True):
            one["instance"] = [{"uid": uid} for uid in texts]


def _without_oid(texts: list[Any]) -> list[Any]:
    return [text.removeprefix(_OID) if text.__class__ is str else text for text in texts]

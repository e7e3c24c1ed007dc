"""The instances of imaging studies as an export is read: thousands of DICOM UIDs a second, of which a verdict only lists the text.

Where nothing but the UIDs of a study's instances is wanted (`TypePlan.lazy`) and all of a study are plain - valid as they stand, and different -
each series holds them under UIDS as JSON text, an array of strings, that goes into the output as it is. Any other study keeps its instances.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.data.dicomweb.uids import all_plain

UIDS = "#uids"
"""Where a series that was read has the JSON text of its instances' UIDs: a name that no element has."""


class Instance(msgspec.Struct, gc=False):
    """One instance as it is decoded."""

    uid: Any = None


def gather(study: dict[str, Any]) -> None:
    """Put the UIDs of the instances of a study, decoded as `Instance`, in the place of the instances."""
    series = [one for one in study.get("series") or () if "instance" in one]
    written = [[instance.uid for instance in one.pop("instance")] for one in series]
    if all_plain([uid for texts in written for uid in texts]):
        for one, texts in zip(series, written, strict=True):
            one[UIDS] = msgspec.Raw(('["' + '","'.join(texts) + '"]').encode() if texts else b"[]")
    else:
        for one, texts in zip(series, written, strict=True):
            one["instance"] = [{"uid": uid} for uid in texts]

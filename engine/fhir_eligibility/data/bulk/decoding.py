"""Decoders that read no more of a resource than a plan asks for; the result is plain dictionaries, numbers as `fhir_eligibility.data.files.json_text` reads them.

A resource that does not have the shape expected is decoded whole, so that what is wrong with it shows where it matters and nowhere else; so is one
without an id, which all of its elements may be needed to tell from another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import msgspec

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.compiler.criteria.reading import ReadPlan, TypePlan
from fhir_eligibility.data.bulk.instances import UIDS, DecodedInstance, gather
from fhir_eligibility.data.bulk.records import ReadRecord
from fhir_eligibility.data.files.json_text import number, whole
from fhir_eligibility.data.records.identity import with_text_as_id

Resource = dict[str, Any]
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Head(msgspec.Struct, gc=False):
    """The beginning of any resource."""

    resourceType: str | None = None
    id: Any = None


class Decoders:
    """The decoders of a plan, by resource type."""

    def __init__(self, plan: ReadPlan, model: Model) -> None:
        self.plan = plan
        self.model = model
        self._facts: dict[str, FactDecoder] = {}
        self._reads: dict[tuple[str, bool], Callable[[bytes], Resource]] = {}

    def of(self, kind: str) -> FactDecoder:
        """The decoder of a type."""
        found = self._facts.get(kind)
        if found is None:
            found = self._facts[kind] = FactDecoder(kind, self.plan.of(kind), self.model)
        return found

    def resource(self, record: ReadRecord) -> Resource:
        """The resource of a record, with the elements that the plan keeps. Raises BAD_JSON."""
        if record.facts is not None:
            return record.facts  # type: ignore[no-any-return]
        key = record.kind, record.compact
        read = self._reads.get(key)
        if read is None:
            decoder = self.of(record.kind)
            read = self._reads[key] = decoder.unpack if record.compact else decoder.read
        return read(record.raw)

    def subject_paths(self, kind: str) -> tuple[str, ...]:
        """Where a resource says which patient it is about."""
        return self.model.patient_paths(kind) or ("subject", "patient")


class FactDecoder:
    """Decodes resources of one type."""

    __slots__ = ("_decode", "lazy", "pack", "unpack")

    def __init__(self, kind: str, plan: TypePlan | None, model: Model) -> None:
        self.lazy = plan is not None and plan.lazy
        self._decode: Callable[[bytes | memoryview], Resource] = whole
        self.pack: Callable[[Resource], bytes] = _encode
        """A resource that was decoded as JSON text again, for `unpack`."""
        self.unpack: Callable[[bytes], Resource] = whole
        """What was packed. Raises BAD_JSON."""
        if plan is not None and plan.elements is not None:
            shape: dict[str, Any] = dict.fromkeys(sorted(plan.elements), Any)
            self._decode = _decoder(
                kind, {**shape, **_series(model, instance=list[DecodedInstance])} if self.lazy else shape
            )
            if self.lazy:
                self.unpack = _decoder(kind, {**shape, **_series(model, instance=Any, **{UIDS: msgspec.Raw})})

    def read(self, raw: bytes | memoryview) -> Resource:
        """A resource of which the plan's elements are kept, its id as a text. Raises BAD_JSON."""
        found = self._written(raw)
        identifier = found.get("id")
        return found if identifier.__class__ is str else with_text_as_id(found)

    def _written(self, raw: bytes | memoryview) -> Resource:
        try:
            found = self._decode(raw)
        except msgspec.ValidationError:
            return whole(raw)  # type: ignore[no-any-return]
        identifier = found.get("id")
        if identifier.__class__ is not str or not identifier:
            return whole(raw)  # type: ignore[no-any-return]
        if self.lazy:
            gather(found)
        return found

    def packed(self, raw: bytes | memoryview) -> tuple[Resource, bool]:
        """The same with its id as it is written, and whether `pack` makes something shorter of it than its text was."""
        if not self.lazy:
            return self._written(raw), False
        try:
            found = self._decode(raw)
        except msgspec.ValidationError:
            return whole(raw), False
        identifier = found.get("id")
        if identifier.__class__ is not str or not identifier:
            return whole(raw), False
        gather(found)
        return found, True


def _series(model: Model, **instances: Any) -> dict[str, Any]:
    """The shape of an imaging study's series, with the siblings of its primitives."""
    elements = model.elements("ImagingStudy.series").values()
    names: dict[str, Any] = {
        key: Any for element in elements for name, _ in element.json_names for key in (name, f"_{name}")
    }
    made: Any = _dictionary("Series", {**names, **instances})
    return {"series": list[made]}


def _decoder(kind: str, shape: dict[str, Any]) -> Callable[..., Any]:
    return msgspec.json.Decoder(_dictionary(kind, shape), float_hook=number).decode


def _dictionary(name: str, shape: dict[str, Any]) -> Any:
    """A type of dictionaries that may have some keys."""
    make: Any = TypedDict
    return make(name, shape, total=False)

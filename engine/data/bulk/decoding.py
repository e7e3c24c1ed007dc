"""Decoders that read no more of a resource than a plan asks for; the result is plain dictionaries, numbers as Decimal.

A resource that does not have the shape expected is decoded whole, so that what is wrong with it shows where it matters and nowhere else.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypedDict

import msgspec

from engine.artifacts.models import Model
from engine.compiler.reading import ReadPlan, TypePlan

Resource = dict[str, Any]
_WHOLE = msgspec.json.Decoder(float_hook=Decimal)


class Meta(msgspec.Struct, gc=False):
    """What of `meta` decides which of two versions counts."""

    lastUpdated: Any = None


class Head(msgspec.Struct, gc=False):
    """The beginning of any resource."""

    resourceType: str | None = None
    id: str | None = None


class Decoders:
    """The decoders of a plan, by resource type."""

    def __init__(self, plan: ReadPlan, model: Model) -> None:
        self.plan = plan
        self.model = model
        self._facts: dict[str, msgspec.json.Decoder[Any]] = {}
        self._heads: dict[str, tuple[msgspec.json.Decoder[Any], tuple[str, ...]]] = {}

    def resource(self, kind: str, raw: bytes) -> Resource:
        """A resource with the elements that the plan keeps. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError."""
        decoder = self._facts.get(kind)
        if decoder is None:
            decoder = self._facts[kind] = self._fact(kind)
        try:
            return decoder.decode(raw)  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            return _WHOLE.decode(raw)  # type: ignore[no-any-return]

    def _fact(self, kind: str) -> msgspec.json.Decoder[Any]:
        found = self.plan.of(kind)
        if found is None or found.elements is None:
            return _WHOLE
        return msgspec.json.Decoder(_shape(kind, found, self.model), float_hook=Decimal)

    def head(self, kind: str) -> tuple[msgspec.json.Decoder[Any], tuple[str, ...]]:
        """A decoder of a resource's identity, status and patient references, and the names of the elements that hold these."""
        found = self._heads.get(kind)
        if found is None:
            first = tuple(dict.fromkeys(path.partition(".")[0] for path in self.subject_paths(kind)))
            names = dict.fromkeys(("status", "verificationStatus", *first))
            fields: list[Any] = [("id", Any, None), *((name, Any, None) for name in names)]
            found = self._heads[kind] = (
                msgspec.json.Decoder(msgspec.defstruct(f"{kind}Head", fields, gc=False)),
                first,
            )
        return found

    def subject_paths(self, kind: str) -> tuple[str, ...]:
        """Where a resource says which patient it is about."""
        return self.model.patient_paths(kind) or ("subject", "patient")


def whole(raw: bytes) -> Any:
    """JSON, all of it, numbers as Decimal. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError."""
    return _WHOLE.decode(raw)


def _shape(kind: str, plan: TypePlan, model: Model) -> Any:
    """The type that a decoder builds: a dictionary of the elements kept."""
    assert plan.elements is not None
    shape: dict[str, Any] = dict.fromkeys(sorted(plan.elements), Any)
    if plan.lazy:
        elements = model.elements("ImagingStudy.series").values()
        series: dict[str, Any] = {name: Any for element in elements for name, _ in element.json_names}
        series["instance"] = msgspec.Raw
        shape["series"] = list[_dictionary("Series", series)]  # type: ignore[misc]
    return _dictionary(kind, shape)


def _dictionary(name: str, shape: dict[str, Any]) -> Any:
    """A type of dictionaries that may have some keys."""
    make: Any = TypedDict
    return make(name, shape, total=False)

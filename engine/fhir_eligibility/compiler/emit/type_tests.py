"""What the emitter asks of the models that a library uses: what values of their types are in FHIR, and how one is told from others."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.compiler.elm.types import ChoiceType, IntervalType, ListType, Named, Type, TypeSystem
from fhir_eligibility.compiler.runtime.type_tests import TypeOfValue


class TypesOfModels:
    """The types of the models of a type system."""

    def __init__(self, types: TypeSystem) -> None:
        self.types = types

    def fhir_type(self, name: str) -> str:
        """The FHIR type that values of a model's type have."""
        namespace, _, short = name.partition(".")
        model = self.types.models.get(namespace)
        return (model.fhir_type(short) if model is not None else None) or short

    def is_resource(self, kind: Type) -> bool:
        """Whether values of a type are resources, or may be."""
        if isinstance(kind, ChoiceType):
            return any(self.is_resource(option) for option in kind.options)
        if not isinstance(kind, Named):
            return False
        namespace, _, short = kind.name.partition(".")
        model = self.types.models.get(namespace)
        return model is not None and not model.is_raw(short)

    def tested(self, kind: Type) -> TypeOfValue:
        """The test of a type."""
        names: dict[str, str] = {}
        version = "r4"
        stack: list[Any] = [kind]
        while stack:
            found = stack.pop()
            if isinstance(found, Named) and not found.name.startswith("System."):
                names[found.name] = self.fhir_type(found.name)
                model = self.types.models.get(found.name.partition(".")[0])
                version = model.fhir.version if model is not None else version
            elif isinstance(found, ListType):
                stack.append(found.element)
            elif isinstance(found, IntervalType):
                stack.append(found.point)
            elif isinstance(found, ChoiceType):
                stack.extend(found.options)
        return TypeOfValue(kind, tuple(sorted(names.items())), version)

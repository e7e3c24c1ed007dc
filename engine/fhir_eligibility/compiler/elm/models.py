"""Data models as CQL authors see them: types, elements, and how an element is read from FHIR JSON (CQL: "Data Models").

`FhirTypes` is FHIR itself, from the tables of a version; `ProfiledTypes` is a ModelInfo over it (QICore, US Core, ...), whose elements say
with a `target` how they come from FHIR: unwrapped, converted, from an extension or a slice.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.models.modelinfo import ClassInfo, ModelInfo, TypeTuple, parent_class
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.primary_codes import PRIMARY_CODES
from fhir_eligibility.compiler.elm.types import ANY, ChoiceType, IntervalType, ListType, Named, Type

JsonNames = tuple[tuple[str, str], ...]
Step = tuple[str, tuple[tuple[str, str], ...]]


class Target(Struct, frozen=True):
    """How an element is read: `function` over `%value` (`own`) or over a path from its parent, each step with conditions (`url` = ...)."""

    function: str | None
    own: bool
    steps: tuple[Step, ...] = ()


class ModelElement(Struct, frozen=True):
    """An element: its type, its names in JSON with the FHIR type of each, whether it repeats there, and the ways to read it by type."""

    name: str
    type: Type
    json: JsonNames
    many: bool
    targets: tuple[tuple[Type, Target], ...] = ()


class Retrievable(Struct, frozen=True):
    """What a retrieve of a type asks for: the FHIR type, the profile that counts (None: all), the element with its code."""

    resource_type: str
    profile: str | None
    code_path: str | None


class CqlModel(Protocol):
    """What the compiler asks of a model. Names are without the namespace."""

    @property
    def namespace(self) -> str: ...
    @property
    def fhir(self) -> Model: ...
    def has_type(self, name: str) -> bool: ...
    def labelled(self, label: str) -> str | None: ...
    def base(self, name: str) -> Type | None: ...
    def element(self, name: str, element: str) -> ModelElement | None: ...
    def element_names(self, name: str) -> list[str]: ...
    def type_names(self) -> list[str]: ...
    def is_primitive(self, name: str) -> bool: ...
    def is_raw(self, name: str) -> bool: ...
    def fhir_type(self, name: str) -> str | None: ...
    def retrievable(self, name: str) -> Retrievable | None: ...


class FhirTypes:
    """FHIR of one version."""

    def __init__(self, model: Model, namespace: str = "FHIR") -> None:
        self.fhir = model
        self.namespace = namespace
        self._elements: dict[tuple[str, str], ModelElement | None] = {}

    def has_type(self, name: str) -> bool:
        return self.fhir.has_type(name)

    def labelled(self, label: str) -> str | None:
        return None

    def base(self, name: str) -> Type | None:
        found = self.fhir.base(name)
        return Named(f"{self.namespace}.{found}") if found else None

    def element(self, name: str, element: str) -> ModelElement | None:
        key = (name, element)
        if key not in self._elements:
            found = self.fhir.element(name, element)
            self._elements[key] = None if found is None else self._made(found)
        return self._elements[key]

    def _made(self, found: Any) -> ModelElement:
        kind = t.choice(*(Named(f"{self.namespace}.{x}") for x in found.types)) if found.types else ANY
        names = tuple(found.json_names) or ((found.name, "Element"),)
        return ModelElement(found.name, ListType(kind) if found.many else kind, names, found.many)

    def element_names(self, name: str) -> list[str]:
        return list(self.fhir.elements(name))

    def type_names(self) -> list[str]:
        return sorted(self.fhir.resource_types)

    def is_primitive(self, name: str) -> bool:
        return self.fhir.has_type(name) and self.fhir.kind(name) == "primitive"

    def is_raw(self, name: str) -> bool:
        """Whether a value is JSON that does not tell its type: all but resources."""
        return self.fhir.has_type(name) and self.fhir.kind(name) != "resource"

    def fhir_type(self, name: str) -> str | None:
        return name if self.fhir.has_type(name) else None

    def retrievable(self, name: str) -> Retrievable | None:
        if not self.fhir.has_type(name) or self.fhir.kind(name) != "resource":
            return None
        return Retrievable(name, None, PRIMARY_CODES.get(name))


class ProfiledTypes:
    """A ModelInfo over FHIR."""

    def __init__(self, info: ModelInfo, model: Model, namespace: str | None = None) -> None:
        self.info = info
        self.fhir = model
        self.namespace = namespace or info.name
        self._elements: dict[tuple[str, str], ModelElement | None] = {}
        self._fhir_types: dict[str, str | None] = {}
        self._labels: dict[str, str] | None = None

    def has_type(self, name: str) -> bool:
        return name in self.info.classes

    def labelled(self, label: str) -> str | None:
        """The class with a label, which authors may write for its name."""
        if self._labels is None:
            self._labels = {found.label: name for name, found in self.info.classes.items() if found.label}
        return self._labels.get(label)

    def base(self, name: str) -> Type | None:
        found = self.info.classes.get(name)
        if found is None or found.base is None:
            return None
        base = self._type(found.base)
        known = (
            self.namespace,
            "System",
            "FHIR",
        )  # a model that is not at hand, or that derives from this one, tells nothing
        return base if not isinstance(base, Named) or base.name.partition(".")[0] in known else ANY

    def _type(self, written: TypeTuple) -> Type:
        kind, *rest = written
        if kind == "list":
            return ListType(self._type(rest[0]))  # type: ignore[arg-type]
        if kind == "interval":
            return IntervalType(self._type(rest[0]))  # type: ignore[arg-type]
        if kind == "choice":
            return t.choice(*(self._type(x) for x in rest))  # type: ignore[arg-type]
        name = str(rest[0])
        if name.startswith("System."):
            return t.SYSTEM_TYPES.get(name.removeprefix("System."), ANY)
        namespace, _, short = name.partition(".")
        if namespace == self.info.name and short not in self.info.classes:
            return ANY  # named, but not defined: only the value tells
        return Named(f"{self.namespace}.{short}") if namespace == self.info.name else Named(name)

    def _class_with(self, name: str, element: str) -> ClassInfo | None:
        """The class, or the ancestor, that has an element."""
        found = self.info.classes.get(name)
        while found is not None:
            if element in found.elements:
                return found
            found = parent_class(self.info.name, found, self.info.classes)
        return None

    def element(self, name: str, element: str) -> ModelElement | None:
        key = (name, element)
        if key not in self._elements:
            self._elements[key] = self._made(name, element)
        return self._elements[key]

    def _made(self, name: str, element: str) -> ModelElement | None:
        owner = self._class_with(name, element)
        if owner is None:
            return None
        written = owner.elements[element]
        kind = self._type(written.type)
        fhir_type = self.fhir_type(name) or self.fhir_type(owner.name)
        definition = self.fhir.element(fhir_type, element) if fhir_type is not None else None
        if definition is not None:
            names, many = tuple(definition.json_names), definition.many
        else:
            names, many = ((element, "Element"),), isinstance(kind, ListType)
        try:
            targets = self._targets(kind, written.target) if written.target else ()
        except ValueError as error:
            place = f"ModelInfo {self.info.name}, element {owner.name}.{element}"
            raise DiagnosticError([Diagnostic("model-info", str(error), location=place)]) from None
        return ModelElement(element, kind, names, many, targets)

    def _targets(self, kind: Type, text: str) -> tuple[tuple[Type, Target], ...]:
        if re.match(r"System\.\w+:", text):
            found = []
            for part in text.split(";"):
                name, _, rest = part.partition(":")
                system = t.SYSTEM_TYPES.get(name.removeprefix("System."))
                if system is None:
                    raise ValueError(f"the target {text!r} is not understood: there is no type {name!r}")
                found.append((system, parse_target(rest)))
            return tuple(found)
        return ((kind, parse_target(text)),)

    def element_names(self, name: str) -> list[str]:
        names: list[str] = []
        found = self.info.classes.get(name)
        while found is not None:
            names += found.elements
            found = parent_class(self.info.name, found, self.info.classes)
        return names

    def type_names(self) -> list[str]:
        return sorted(name for name, found in self.info.classes.items() if found.retrievable)

    def is_primitive(self, name: str) -> bool:
        return False

    def is_raw(self, name: str) -> bool:
        kind: Type | None = Named(f"{self.namespace}.{name}")
        while isinstance(kind, Named) and kind.name.startswith(f"{self.namespace}."):
            short = kind.name.partition(".")[2]
            if short in ("Resource", "DomainResource"):
                return False
            kind = self.base(short)
        return kind in (None, ANY)

    def fhir_type(self, name: str) -> str | None:
        """The FHIR type, or the path of a backbone element, that values of a class have."""
        if name not in self._fhir_types:
            self._fhir_types[name] = None  # for a name that is asked for while it is looked up
            self._fhir_types[name] = self._fhir_type(name)
        return self._fhir_types[name]

    def _fhir_type(self, name: str) -> str | None:
        found = self.info.classes.get(name)
        if found is None:
            return name if self.fhir.has_type(name) else None
        if found.target and self.fhir.has_type(found.target):
            return found.target
        if self.fhir.has_type(name):
            return name
        if "." in name:
            owner, _, last = name.rpartition(".")
            outer = self.fhir_type(owner)
            inner = self.fhir.element(outer, last[:1].lower() + last[1:]) if outer is not None else None
            if inner is not None and inner.types:
                return inner.types[0]
        if found.base is not None and found.base[0] == "named":
            return self.fhir_type(str(found.base[1]).partition(".")[2])
        return None

    def retrievable(self, name: str) -> Retrievable | None:
        found = self.info.classes.get(name)
        fhir_type = self.fhir_type(name)
        if found is None or not found.retrievable or fhir_type is None:
            return None
        return Retrievable(fhir_type, found.identifier, found.code_path)


# The functions of FHIRHelpers that a target may name.
HELPER_FUNCTIONS = frozenset("ToCode ToConcept ToInterval ToQuantity ToRatio ToValue ToValueSet".split())
_CALL = re.compile(r"FHIRHelpers\.(\w+)\((.*)\)$")
_STEP = re.compile(r"\.?([\w-]+)(?:\[x\])?(?:\[([^\]]*)\])?")
_CONDITION = re.compile(r"([\w.]+)='([^']*)'")


def parse_target(text: str) -> Target:
    """A `target` of ModelInfo. Raises ValueError for one that is not understood."""
    function = None
    inner = text.strip()
    match = _CALL.match(inner)
    if match:
        function, inner = match.group(1), match.group(2)
        if function not in HELPER_FUNCTIONS:
            raise ValueError(
                f"the target {text!r} is not understood: FHIRHelpers has no function {function!r} for data"
            )
    if inner in ("%value", "%value.value"):
        return Target(function or ("value" if inner.endswith(".value") else None), True)
    if not inner.startswith("%parent."):
        raise ValueError(f"the target {text!r} is not understood")
    steps: list[Step] = []
    position = len("%parent")
    while position < len(inner):
        step = _STEP.match(inner, position)
        if step is None or step.end() == position:
            raise ValueError(f"the target {text!r} is not understood")
        steps.append((step.group(1), tuple(_CONDITION.findall(step.group(2) or ""))))
        position = step.end()
    return Target(function, False, tuple(steps))


def common_resource(model: CqlModel, kind: Type) -> str | None:
    """The FHIR resource type of a named type, or of all options of a choice."""
    if isinstance(kind, ChoiceType):
        found = {common_resource(model, option) for option in kind.options}
        return found.pop() if len(found) == 1 else None
    if isinstance(kind, Named) and kind.name.startswith(f"{model.namespace}."):
        return model.fhir_type(kind.name.partition(".")[2])
    return None

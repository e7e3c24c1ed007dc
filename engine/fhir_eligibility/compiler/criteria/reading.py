"""What of an export has to be read for some rule sets, and which resources cannot matter: derived from the compiled rules.

A resource whose JSON text holds none of a type's needles in quotes, and no escape that could hide one, is in no retrieve of the rules, and no filter
can be true, unknown or in error on it: it need not be parsed. That is proved here from the nodes, for retrieves by code and for filters whose first
clause asks for something below an element that the text does not even name. Whatever is not proved gives no needles, and every resource is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.clinical import ValueSet
from fhir_eligibility.algebra.values.code_systems import spellings
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.compiler.analysis.other_version import checks_of
from fhir_eligibility.compiler.analysis.uses import Uses
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.library import Compiled
from fhir_eligibility.compiler.criteria.rules import FhirPathCriterion, RuleSet, cql_codes
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.conjuncts import conjuncts, tests_code
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import Named
from fhir_eligibility.compiler.runtime.membership import NO_CODES, Codes, ValueSetMembership

# Elements that say who and whether a record is about (fhir_eligibility.data), and those that a verdict shows as evidence (fhir_eligibility.evaluation.evidence).
_IDENTITY = frozenset("id meta status verificationStatus modifierExtension implicitRules".split())
_SHOWN = frozenset(
    "code type procedureCode vaccineCode outcome started authoredOn period actualPeriod recordedDate whenHandedOver date issued effective performed "
    "occurrence occurence onset value medication".split()
)
_OF_TYPE = {
    "Patient": frozenset(("birthDate", "gender", "identifier", "link")),
    "ImagingStudy": frozenset(
        "identifier uid series modality endpoint accession contained numberOfSeries numberOfInstances".split()
    ),
}
# An element that is itself a Coding may have no code, which its text tells apart from a reference with a display only by its name: such resources are all read.
_CODED = frozenset(("FHIR.CodeableConcept", "CodeableConcept", "CodeableReference"))


class TypePlan(Struct, frozen=True):
    """How resources of one type are read.

    `elements` are the JSON names that are kept (None: all). A resource matters only if its text holds one of `codes` or `texts` in quotes
    (both None: every resource matters), or a coding without a code, of one of `systems` or of none; `codes` are values of an element named `code`.
    With `lazy`, nothing but the UIDs is wanted of the instances of an imaging study's series.
    """

    resource_type: str
    elements: frozenset[str] | None = None
    codes: frozenset[str] | None = None
    texts: frozenset[str] | None = None
    lazy: bool = False
    systems: frozenset[str] = frozenset()

    @property
    def selective(self) -> bool:
        """Whether some resources of the type need not be parsed."""
        return self.codes is not None


class ReadPlan(Struct, frozen=True):
    """What is read of an export: the types that some criterion reads. With `everything`, all types, whole.

    `together` tells that some criterion looks at other patients' data besides, `linked` that one follows references, which may lead there.
    """

    model: str
    types: dict[str, TypePlan] = field(default_factory=dict)
    everything: bool = False
    together: bool = False
    linked: bool = False

    @property
    def follows(self) -> bool:
        """Whether one patient's data alone does not tell, so that other records must be found by their names."""
        return self.together or self.linked

    def with_instances(self) -> ReadPlan:
        """The same with the instances of imaging studies decoded."""
        return replace(self, types={name: replace(found, lazy=False) for name, found in self.types.items()})

    def of(self, resource_type: str) -> TypePlan | None:
        """How a type is read, None where no criterion reads it."""
        found = self.types.get(resource_type)
        return TypePlan(resource_type) if found is None and self.everything else found


class _NeedsWhole(Exception):
    """Some expression may look at any resource, whole."""


class _Type(Struct):
    elements: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    systems: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    selective: bool = True
    whole: bool = False
    instances: bool = False


def reading_plan(rule_sets: Sequence[RuleSet], codes: Codes = NO_CODES) -> ReadPlan:
    """The plan for some rule sets; `codes` are the value sets at hand."""
    version = rule_sets[0].model if rule_sets else "r4"
    model = load_model(version)
    types: dict[str, _Type] = {"Patient": _Type(selective=False)}
    together = any(_related(code.compiled.reached([code.define])) for code in cql_codes(rule_sets))
    codes_of_rules = [
        code
        for rules in rule_sets
        for rule in rules.walk()
        for code in (rule.code, *rule.besides())
        if code is not None
    ]
    followed = [_followed(code) for code in codes_of_rules if isinstance(code, FhirPathCriterion)]
    if None in followed:
        return ReadPlan(version, everything=True, together=together, linked=True)
    try:
        for code in codes_of_rules:
            if isinstance(code, CqlCode):
                _cql(code.compiled.reached([code.define]), types, codes, model)
            else:
                _fhirpath(code, types, model)
    except _NeedsWhole:
        return ReadPlan(version, everything=True, together=together)
    for code in codes_of_rules:
        _written_otherwise(code, types, version)
    if any(followed):
        types["Medication"] = _Type(selective=False, whole=True)
    if together:
        _persons(types)
    if "ImagingStudy" in types:
        types["Endpoint"] = _Type(selective=False, whole=True)
    return ReadPlan(
        version, {name: _made(name, found, model) for name, found in sorted(types.items())}, together=together
    )


def measure_plan(compiled: Compiled, names: Sequence[str], version: str, codes: Codes = NO_CODES) -> ReadPlan:
    """The plan for some defines and functions of a library, whose values may be whole resources."""
    model = load_model(version)
    types: dict[str, _Type] = {"Patient": _Type(selective=False)}
    together = _related(compiled.reached(names))
    try:
        _cql(compiled.reached(names), types, codes, model)
    except _NeedsWhole:
        return ReadPlan(version, everything=True, together=together)
    if together:
        _persons(types)
    for found in types.values():
        found.whole = True
    return ReadPlan(
        version, {name: _made(name, found, model) for name, found in sorted(types.items())}, together=together
    )


def _related(reached: Iterable[tuple[Compiled, Uses]]) -> bool:
    """Whether some retrieve asks for the data of another patient."""
    return any(retrieval.related for _, uses in reached for retrieval in uses.retrievals)


def _persons(types: dict[str, _Type]) -> None:
    """Have other patients found: a RelatedPerson is the patient whose Patient.link names it."""
    types["Patient"].elements.add("link")
    types.setdefault("RelatedPerson", _Type()).selective = False


def _written_otherwise(code: FhirPathCriterion | CqlCode, types: dict[str, _Type], version: str) -> None:
    """Resources that another version of FHIR wrote are read, whatever their codes: they leave the criterion unknown."""
    for name, checks in checks_of(code.reads(), version).items():
        found = types.get(name)
        for check in checks if found is not None else ():
            assert found is not None
            found.texts |= check.other
            found.foreign |= check.other
            found.selective = found.selective and check.own_shape is None


def _made(name: str, found: _Type, model: Model) -> TypePlan:
    whole = found.whole or any(
        model.element(name, path) is None for path in found.elements - _OF_TYPE.get(name, frozenset())
    )
    elements = None if whole else frozenset(_names(model, name, found.elements)) | found.foreign
    lazy = name == "ImagingStudy" and not whole and not found.instances
    if not found.selective:
        return TypePlan(name, elements, lazy=lazy)
    return TypePlan(name, elements, frozenset(found.codes), frozenset(found.texts), lazy, frozenset(found.systems))


def _names(model: Model, resource_type: str, read: set[str]) -> Iterator[str]:
    """JSON names of the elements that are read, each with the sibling of a primitive, and of those that every verdict may show."""
    about = {path.partition(".")[0] for path in model.patient_paths(resource_type) or ("subject", "patient")}
    yield "resourceType"
    yield from about
    yield from _OF_TYPE.get(resource_type, ())
    for name, element in model.elements(resource_type).items():
        if name in read or name in _IDENTITY or name in _SHOWN or name in about:
            for json_name, kind in ((name, ""), *element.json_names):
                yield json_name
                if (name in read or name == "implicitRules") and (
                    not kind or model.has_type(kind) and model.kind(kind) == "primitive"
                ):
                    yield f"_{json_name}"


# -- FHIRPath


def _followed(code: FhirPathCriterion) -> bool | None:
    """Whether references are followed to Medications, which belong to no patient; None where one may lead anywhere else."""
    to_medications = {
        id(node.operands[0])
        for node in code.node.walk()
        if isinstance(node, n.OfType)
        and node.target == Named("FHIR.Medication")
        and isinstance(node.operands[0], n.Resolve)
    }
    resolving = [node for node in code.node.walk() if isinstance(node, n.Resolve)]
    return bool(resolving) if all(id(node) in to_medications for node in resolving) else None


def _fhirpath(code: FhirPathCriterion, types: dict[str, _Type], model: Model) -> None:
    certified = _certified(code.node)
    for node in code.node.walk():
        if isinstance(node, n.Retrieve):
            name = node.data_type
            found = types.setdefault(name, _Type())
            if node.codes and _holds_codes(model, name, node.code_property or "code"):
                found.codes.update(wanted for _, wanted in node.codes)
                found.systems.update(system for system, _ in node.codes)
            elif id(node) in certified:
                found.texts.add(certified[id(node)])
            else:
                found.selective = False
        elif isinstance(node, (n.Property, n.DynamicProperty)):
            _instances(node.path, types)
    followed = _followed(code)
    for name, requirement in code.reads().items():
        found = types.setdefault(name, _Type(selective=False))
        found.elements.update(path.partition(".")[0] for path in requirement.paths)
        if followed:
            found.elements.add("contained")
        found.whole = found.whole or requirement.whole
        found.instances = found.instances or any(
            path == "series" or path.startswith("series.instance") for path in requirement.looked_at
        )


def _instances(path: str, types: dict[str, _Type]) -> None:
    """An expression that names an element `instance` may look into those of a series."""
    if path == "instance":
        types.setdefault("ImagingStudy", _Type(selective=False)).instances = True


def _certified(root: Node) -> dict[int, str]:
    """Retrieves below a filter whose first clause is false wherever an element is missing, by that element's name.

    The clause must be one that is not reported as a near miss (`tests_code`), so that nothing at all is seen of such a row.
    """
    out: dict[int, str] = {}
    for node in root.walk():
        if not isinstance(node, n.Filter) or not isinstance(node.operands[0], n.Retrieve):
            continue
        first = conjuncts(node.operands[1])[0]
        name = _needed_element(first, node.scope)
        if name is not None and tests_code(first):
            out[id(node.operands[0])] = name
    return out


def _needed_element(node: Node, scope: int) -> str | None:
    """The element of the row without which an `exists` is false."""
    if not isinstance(node, n.Exists):
        return None
    below = node.operands[0]
    while isinstance(below, (n.Filter, n.OfType, n.ForEach, n.Property, n.Box)):
        inner = below.operands[0]
        if isinstance(below, n.Property) and isinstance(inner, n.Current) and inner.scope == scope:
            # a primitive may be there by its sibling, `_name`, alone
            primitive = below.element_type[:1].islower()
            plain = below.names is None and below.json == below.path and not primitive
            return str(below.path) if plain else None
        below = inner
    return None


# -- CQL


def _cql(reached: Iterable[tuple[Compiled, Uses]], types: dict[str, _Type], codes: Codes, model: Model) -> None:
    for _, uses in reached:
        for name in uses.whole:
            if name == "*":
                raise _NeedsWhole
            types.setdefault(name, _Type()).whole = True
        for retrieval in uses.retrievals:
            spec = retrieval.spec
            found = types.setdefault(spec.resource_type, _Type())
            found.elements.update(_element_of(model, spec.resource_type, path[0]) for path in spec.paths)
            wanted = _wanted(retrieval.value_set, codes)
            if (
                not spec.paths
                or wanted is None
                and not retrieval.codes
                or retrieval.value_set is not None
                and wanted is None
            ):
                found.selective = False
            elif not all(_holds_codes(model, spec.resource_type, path[0]) for path in spec.paths):
                found.selective = False
            else:
                for system, code in (*(wanted or ()), *((one.system, one.code) for one in retrieval.codes)):
                    if code:
                        found.codes.add(code)
                    if system:
                        found.systems.update(spellings(system))
            if spec.negated or spec.target:
                found.selective = False
            if spec.target:
                found.elements.update((_element_of(model, spec.resource_type, spec.referenced[0]), "contained"))
                types.setdefault(spec.target, _Type()).elements.add("code")
                types[spec.target].selective = False
        for owner, path in uses.elements:
            root = owner.partition(".")[0]
            if root in model.resource_types:
                found = types.setdefault(root, _Type(selective=False))
                if owner == root:
                    found.elements.add(path)
            _instances(path, types)


def _wanted(value_set: ValueSet | None, codes: Codes) -> frozenset[tuple[str | None, str | None]] | None:
    """The codes of a value set with their systems, None where they are not all known."""
    if value_set is None:
        return None
    try:
        members = ValueSetMembership(codes).members(value_set)
    except EvaluationError:
        return None
    return frozenset(members.codes) if members.complete else None


def _element_of(model: Model, resource_type: str, json_name: str) -> str:
    """The element that a JSON name writes; the name itself where the type has no such element."""
    for element in model.elements(resource_type).values():
        if any(name == json_name for name, _ in element.json_names):
            return element.name
    return json_name


def _holds_codes(model: Model, resource_type: str, json_name: str) -> bool:
    """Whether an element holds CodeableConcepts or Codings, so that its codes stand in elements named `code`."""
    for element in model.elements(resource_type).values():
        for name, kind in (*element.json_names, *((element.name, kind) for kind in element.types)):
            if name == json_name and (kind in _CODED or f"FHIR.{kind}" in _CODED):
                return True
    return False

"""What the analyses hold of kinds of nodes: every kind is listed or gets the cautious answer, and what is listed as harmless is."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.analysis.monotonicity import fhirpath_monotonicity, moves_one_way
from fhir_eligibility.compiler.analysis.requirements import requirements
from fhir_eligibility.compiler.criteria.fhirpath_code import compile_code
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, shaped
from fhir_eligibility.compiler.elm.traits import UNKNOWN, Missing
from fhir_eligibility.compiler.emit.emitter import Emitter
from fhir_eligibility.compiler.emit.handlers import EACH, VALUES

# Classes that tell nothing of themselves, so that they may look at their operands as a whole, and hand on any part of them.
CAUTIOUS = set(
    "CanConvert CodeRef CodeSystemRef ConceptRef ConvertInterval DateTimeComponentFrom Descendents ElementOf FhirHelper FhirInstance "
    "Instance MaxValue Message MinValue NewDate NewDateTime NewInterval NewTime OperandRef ParameterRef ValueSetRef".split()
)
# Classes that others descend from, and one that only the translator knows.
NOT_EMITTED = {"Node", "Operation", "Scoped", "DefinitionRef", "ItemStep", "Factory"}


def classes() -> set[type[Node]]:
    return {kind for kind in vars(n).values() if isinstance(kind, type) and issubclass(kind, Node)}


def test_every_class_is_emitted_and_what_tells_nothing_of_itself_is_listed() -> None:
    emitted = {kind for kind in {*VALUES, *EACH} if not isinstance(kind, str)}
    assert {kind.__name__ for kind in classes() - emitted} == NOT_EMITTED
    assert {kind.__name__ for kind in emitted if kind.about is UNKNOWN} == CAUTIOUS
    assert {*VALUES, *EACH} - emitted <= OPERATORS.keys()


class SomethingNew(Node):
    """A class of nodes that tells nothing of itself."""


def test_a_class_that_tells_nothing_gets_the_cautious_answer() -> None:
    records = shaped(("FHIR.Observation",), True)
    rows = n.Retrieve(data_type="Observation", result=records)
    odd = SomethingNew((rows,), result=records)
    status = n.DynamicProperty((odd,), path="status", lenient=False, result=shaped((ANY_NAME,), True))
    found = requirements(status, "Patient")["Observation"]
    assert found.whole and found.paths == {"status"}
    emitter = Emitter(Source("x", ""))
    assert emitter.nullable(odd) and emitter.nullable(SomethingNew())
    doubtful = n.Filter((rows, n.Null()), scope=1, result=records)
    cautious = n.Exists((SomethingNew((doubtful,), result=records),))
    assert moves_one_way(fhirpath_monotonicity(n.Exists((doubtful,))))
    assert not moves_one_way(fhirpath_monotonicity(cautious))


class Sealed:
    """A value that nobody may look into."""

    def _no(self, *_: Any) -> NoReturn:
        raise AssertionError("looked into")

    __eq__ = __lt__ = __getitem__ = __iter__ = __len__ = __bool__ = __str__ = __repr__ = __hash__ = get = items = _no


@pytest.mark.parametrize("name", sorted(name for name, found in OPERATORS.items() if found.traits.looks == "counts"))
def test_operators_that_only_count_look_into_nothing(name: str) -> None:
    for overload in OPERATORS[name].of("cql"):
        if not any("T" in parameter for parameter in overload.parameters):
            continue
        for count in (0, 1, 2):
            values: list[Any] = [Sealed() for _ in range(count)]
            if name == "Flatten":
                values = [values]
            arguments = [
                values if parameter.startswith("List") else 1 if parameter == "Integer" else Sealed()
                for parameter in overload.parameters
            ]
            if name == "SingletonFrom" and count > 1:
                continue
            overload.function(*arguments)


@pytest.mark.parametrize(
    ("text", "kind", "paths"),
    [
        ("(Patient.name | Patient.contact.name).family.exists()", "Patient", {"name.family", "contact.name.family"}),
        ("Patient.name.union(Patient.contact.name).family.exists()", "Patient", {"name.family", "contact.name.family"}),
        ("Patient.name.combine(Patient.contact.name).given.exists()", "Patient", {"name.given", "contact.name.given"}),
        ("Patient.name.intersect(Patient.contact.name).family.exists()", "Patient", {"name.family", "contact.name.family"}),
        ("Patient.name.exclude(Patient.contact.name).family.exists()", "Patient", {"name.family", "contact.name"}),
        ("iif(Patient.active, Patient.name, Patient.contact.name).family.exists()", "Patient", {"active", "name.family", "contact.name.family"}),
        ("coalesce(Patient.name, Patient.contact.name).family.exists()", "Patient", {"name.family", "contact.name.family"}),
        ("Patient.name.aggregate($total | $this.given, {}).exists()", "Patient", {"name.given"}),
        ("Patient.contact.name.aggregate($total | $this, {}).family.exists()", "Patient", {"contact.name.family"}),
        ("Patient.extension('http://x').value.exists()", "Patient", {"extension.value"}),
        ("Patient.birthDate.extension('http://x').exists()", "Patient", {"birthDate.extension"}),
        ("Patient.defineVariable('n', name).contact.name.union(%n).family.exists()", "Patient", {"name.family", "contact.name.family"}),
        ("(Observation | Condition).code.coding.code.first() = 'x'", "Condition", {"code.coding.code"}),
        ("Observation.combine(Condition).subject.exists()", "Observation", {"subject"}),
        ("Observation.sort(effective).first().value.exists()", "Observation", {"effective", "value"}),
        ("QuestionnaireResponse.repeat(item).answer.value.exists()", "QuestionnaireResponse", {"item.answer.value", "item.item.answer.value"}),
        ("Observation.select(component | component).code.exists()", "Observation", {"component.code"}),
        ("Observation.trace('x').status.exists()", "Observation", {"status"}),
        ("Observation.subject.resolve().ofType(Group).name.exists()", "Group", {"name"}),
    ],
)  # fmt: skip
def test_what_fhirpath_reads(text: str, kind: str, paths: set[str]) -> None:
    code, _ = compile_code(text, load_model("r4"), name="x")
    found = code.reads()[kind]
    assert found.paths >= paths


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Observation.descendants().exists()", True),
        ("Observation.children().exists()", True),
        ("Observation.exists($this ~ %context)", True),
        ("Observation.conformsTo('http://hl7.org/fhir/StructureDefinition/Observation')", True),
        ("Observation.distinct().count() > 1", False),
        ("(Observation | Observation).exists()", False),
        ("Observation.first() in Observation", False),
        ("Observation.component.descendants().exists()", False),
        ("Observation.subject.resolve().exists()", False),
        ("Observation.basedOn.resolve().exists() and Observation.status.exists()", False),
        ("Provenance.target.resolve().exists() and Observation.status.exists()", True),
    ],
)
def test_what_is_looked_at_as_a_whole(text: str, whole: bool) -> None:
    code, _ = compile_code(text, load_model("r4"), name="x")
    assert code.reads()["Observation"].whole is whole


def test_no_class_is_said_to_have_a_value_that_its_function_may_not_give() -> None:
    kinds = [kind for kind in vars(n).values() if isinstance(kind, type) and issubclass(kind, Node)]
    never = {kind.__name__ for kind in kinds if kind.about.missing is Missing.NEVER}
    assert never == set(
        "Literal LocalDateTime Now Today TimeOfDay Current Iteration Count Join Exists All AllBoolean IsDistinct EquivalentList HasValue NewObject".split()
    )
    assert n.In.about.missing is Missing.MAYBE

"""Definitions that go through as much of the emitters as fits into a few lines: what is mutated to see that nothing breaks out of it."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Any

NOW = dt.datetime(2026, 6, 1, 12, 30, tzinfo=dt.UTC)
HEAD = """library L version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
include Common version '1' called "Shared"
codesystem "Colours": 'http://example.org/colours' version '2'
valueset "Warm": 'http://example.org/warm' version '3' codesystems { "Colours" }
code "Red": 'red' from "Colours" display 'red one'
concept "Reds": { "Red" } display 'reds'
parameter "Limit" Decimal default 3.0
parameter "Name" String default 'n'
parameter "Span" Interval<DateTime> default Interval[@2025-01-01T00:00:00.0, @2026-01-01T00:00:00.0)
context Patient
define function "Twice"("x y" Decimal): "x y" * 2
define fluent function "named"(o Observation, "text" String): o.status = "text"
define "Observations": [Observation: code in "Reds".codes]
define "Numbers": { 1, 2, 3 }
"""
DEFINES = (
    "Tuple { \"first name\": 'Ada', age: 36 }.\"first name\"",
    "({ Tuple { a: 1, b: 'x' }, Tuple { a: 2, b: 'y' } }) T where T.a > 1 return T.b",
    'Interval[1, 5).low + (start of Interval["Limit", 9.0])',
    "Interval[@2024-01-01, @2024-12-31] contains Today()",
    '"Span".lowClosed and "Span".high > Now()',
    "year from Today() + month from @2024-05",
    "days between birthDate and Today()".replace("birthDate", "Patient.birthDate"),
    '[Observation: "Red"] O where O.status = \'final\' and O.value > 3 \'ng/mL\' return O.value as Quantity',
    'exists ([Observation: code in "Warm"] O with [Procedure] P such that P.performed during "Span" where O."named"(\'final\'))',
    '"Observations" O let v: (O.value as FHIR.Quantity) where v.unit = \'mg\' sort by (issued as FHIR.instant) desc',
    'First("Observations" O sort by status asc, id desc).id',
    'Count([Condition] C without "Observations" O such that O.encounter.reference = C.encounter.reference)',
    "(\"Numbers\") N aggregate distinct R starting 0: R + N * 2",
    "from \"Numbers\" A, ({ 'x', 'y' }) B where A > 1 return Tuple { number: A, letter: B }",
    "case Patient.gender when 'male' then 'M' when 'female' then 'F' else null end",
    "if Patient.active then 'yes' else Coalesce(\"Name\", 'no', ToString(\"Limit\"))",
    'Patient.name.given contains "Name" or First(Patient.name.family) ~ \'Adams\'',
    "\"Shared\".\"Common Text\" & Combine({ 'a', \"Name\" }, ', ')",
    '"Shared"."Double"("Twice"("Limit"))',
    "Code { code: 'c', system: 's', display: 'd' } ~ \"Red\" or Concept { codes: { \"Red\" } } ~ \"Reds\"",
    '"Red" in "Colours" and "Reds" in "Warm"',
    "Message(\"Numbers\", true, 'code', 'Warning', 'some text')",
    "Quantity { value: 5, unit: 'mg' } + 2 'g' - 3 days is null",
    "(5 as Choice<Integer, String>) is String or (\"Numbers\" as List<Any>) is null",
    "convert '5' to Integer + ToInteger('6') + (cast (5 as Any) as Integer)",
    "FHIR.Coding { system: FHIR.uri { value: 'u' }, code: FHIR.code { value: 'c' } }.code.value",
    "flatten { { 1 }, \"Numbers\" } union { 4 } except { 2 }",
    "not (null as Boolean) implies (true xor false) and 'abc' in { 'abc', 'def' }",
    "(Patient.extension X where X.url = 'http://example.org/e').value",
    "Interval[1 'mg', 5 'mg'] overlaps Interval[2 'mg', null)",
    "minimum Integer + PositionOf('b', 'abc') + Length(Upper(\"Name\"))",
    "DateTime(2024, 5, 1, 12) same month or before @2024-06-01T00:00:00.0Z",
    "singleton from (Patient.identifier I where I.system = 'urn:x' return I.value.value)",
    "(expand { Interval[1, 3] } per 1) = { Interval[1, 1] } or Max(\"Numbers\") > Avg({ 1.0 })",
    "({ 'b', 'a' }) S sort desc",
    "(\"Numbers\" N return all N mod 2)[0] + $placeholder".replace(" + $placeholder", ""),
    "Tuple { a: 1, b: { 'x' } }.descendents()",
    "Ratio { numerator: 1 'mg', denominator: 2 'mL' } = 1 'mg':2 'mL'",
    "(Patient as Any).\"birthDate\"",
)  # fmt: skip


def needed(body: str) -> str:
    """The definitions of the head that a body names, and those that these name in turn."""
    lines = HEAD.splitlines(keepends=True)
    kept: set[str] = set()
    while True:
        text = body + "".join(kept)
        more = {line for line in lines if '"' not in line or line.split('"')[1] in _names(text)} - kept
        if not more:
            return "".join(line for line in lines if line in kept)
        kept |= more


def _names(text: str) -> list[str]:
    return text.split('"')[1::2]


@lru_cache(maxsize=1)
def libraries() -> tuple[str, ...]:
    """One library with a definition of every kind, and one for each define with what that needs."""
    whole = "".join(f'define "A {n}": {text}\n' for n, text in enumerate(DEFINES))
    small = (f'define "A": {text}\ndefine "Last": "A"\n' for text in DEFINES)
    return (HEAD + whole, *(needed(body) + body for body in small), LAB)


INCLUDED = {
    "Common": """library Common version '1'
parameter "default" Integer default 5
define "Common Text": 'common' & ToString("default")
define function "Double"(x Decimal): x * 2
""",
}
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
MODEL = f"""
<modelInfo {XSI} name="Lab" version="1.0" url="http://example.org/lab" targetUrl="http://hl7.org/fhir" patientClassName="Person">
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Resource"/>
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Person" baseType="Lab.Resource" target="Patient"
      identifier="http://hl7.org/fhir/StructureDefinition/Patient" retrievable="true">
    <element name="birthDate" elementType="System.Date" target="%value.value"/>
    <element name="plain" elementType="System.Any"/>
    <element name="religion" elementType="System.Concept"
        target="FHIRHelpers.ToConcept(%parent.extension[url='http://example.org/religion'].value)"/>
    <element name="languages">
      <elementTypeSpecifier xsi:type="ListTypeSpecifier" elementType="System.String"/>
    </element>
    <element name="deceased">
      <elementTypeSpecifier xsi:type="ChoiceTypeSpecifier">
        <choice xsi:type="NamedTypeSpecifier" namespace="System" name="Boolean"/>
        <choice xsi:type="NamedTypeSpecifier" namespace="System" name="DateTime"/>
      </elementTypeSpecifier>
    </element>
  </typeInfo>
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Part" target="Observation.component">
    <element name="value" elementType="System.Quantity" target="FHIRHelpers.ToQuantity(%value)"/>
  </typeInfo>
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="pressure" label="Blood Pressure" baseType="Lab.Resource"
      target="Observation" identifier="http://example.org/pressure" retrievable="true" primaryCodePath="code">
    <element name="code" elementType="System.Concept" target="FHIRHelpers.ToConcept(%value)"/>
    <element name="when">
      <elementTypeSpecifier xsi:type="IntervalTypeSpecifier" pointType="System.DateTime"/>
    </element>
    <element name="Systolic" elementType="Lab.Part"
        target="%parent.component[code.coding.system='http://loinc.org',code.coding.code='8480-6']"/>
  </typeInfo>
</modelInfo>"""
LAB = """library Pressures
using Lab version '1.0'
codesystem "Loinc": 'http://loinc.org'
code "Panel": '85354-9' from "Loinc"
context Person
define "A": Person.birthDate
define "B": Person.plain is null and Person.religion is not null
define "C": exists (Person.languages L where L = 'en')
define "D": (Person.deceased as DateTime) is null
define "E": [pressure: "Panel"] P where P.Systolic.value > 120 'mm[Hg]' return P."when"
"""
EXPRESSIONS = (
    "Patient.name.where(use = 'official').given.first()",
    "name.select(given | family).where($this = 'Ada' and $index < 2).join(', ')",
    "Patient.birthDate <= today() - 18 years and gender in ('male' | 'female')",
    "Patient.extension('http://example.org/e').value.ofType(Quantity).where(unit = 'mg').value > 3.5",
    "iif(active, 'yes', %v & 'no')",
    "identifier.where(system = 'urn:x').value.matches('^[a-z]+$')",
    "name.aggregate($total & $this.family, '')",
    "repeat(children()).count() > 0 or name.sort(family desc).exists()",
    "telecom.all(system = 'phone') xor telecom.exists(value.startsWith('0'))",
    "defineVariable('n', name.family).select(%n.first() & %v)",
    "(1 'mg' + 2 'mg').toString() = '3 mg' implies {}.empty()",
    "name.given.trace('names').distinct().tail().skip(1).take(2)",
    "Patient.maritalStatus.coding.exists(system = 'http://example.org/s' and code = 'M')",
    "Patient.contact.relationship.memberOf('http://example.org/vs') = true",
    "deceased.is(boolean) or (deceased as dateTime) > @2020-01-01T00:00:00Z",
    "managingOrganization.resolve().name.contains('x')",
    "children().where($this is Identifier).count() + descendants().count()",
    "name.given.first().replace('a', 'b').upper().substring(0, 1).indexOf('B')",
    "coalesce(name.text, name.family, 'none')",
    "birthDate.toString().split('-').select(toInteger()).sum()",
)
TRACED = (
    "Observation.where(status = 'final' and code.coding.exists(system = 'http://loinc.org' and code = '1-8')).exists(value.ofType(Quantity).value > 3)",
    "Procedure.where(performed.ofType(dateTime) >= @2024-01-01).exists(outcome.coding.code = 'x')",
)


def expression(language: str, text: str) -> dict[str, Any]:
    return {"linkId": "c", "description": "d", "definitionExpression": {"language": language, "expression": text}}


def variable(*characteristics: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "EvidenceVariable", "id": "v", "url": "http://example.org/EvidenceVariable/v", "status": "active",
        "title": "t", "characteristic": list(characteristics),
    }  # fmt: skip


ARTIFACTS = (
    *(variable(expression("text/fhirpath", text)) for text in (*TRACED, *EXPRESSIONS[:8])),
    variable(expression("text/cql", "exists ([Observation] O where O.status = 'final' and O.value > 3 'ng/mL')")),
    variable(expression("text/cql", "Tuple { \"a b\": 'x', c: 2 }.\"a b\" = 'x'")),
    variable(
        {
            "linkId": "f", "definitionByTypeAndValue": {
                "type": {"coding": [{"system": "http://loinc.org", "code": "2857-1", "display": "PSA"}]},
                "valueRange": {"low": {"value": 3, "unit": "ng/mL", "system": "http://unitsofmeasure.org", "code": "ng/mL"}},
            },
        },
        {
            "linkId": "g", "exclude": True, "definitionCodeableConcept": {
                "coding": [{"system": "http://snomed.info/sct", "code": "399068003"}], "text": "cancer",
            },
        },
    ),
)  # fmt: skip
PATIENT: dict[str, Any] = {
    "resourceType": "Patient", "id": "p", "active": True, "gender": "female", "birthDate": "1950-02-03",
    "name": [{"use": "official", "family": "Adams", "given": ["Ada", "B"]}],
    "identifier": [{"system": "urn:x", "value": "abc"}], "telecom": [{"system": "phone", "value": "01"}],
    "extension": [
        {"url": "http://example.org/e", "valueQuantity": {"value": 4, "unit": "mg"}},
        {"url": "http://example.org/religion", "valueCodeableConcept": {"coding": [{"system": "s", "code": "c"}]}},
    ],
}  # fmt: skip
RESOURCES: tuple[dict[str, Any], ...] = (
    {
        "resourceType": "Observation", "id": "o", "status": "final", "issued": "2025-03-01T10:00:00Z",
        "code": {"coding": [{"system": "http://example.org/colours", "code": "red"}]}, "valueQuantity": {"value": 5, "unit": "ng/mL", "code": "ng/mL", "system": "http://unitsofmeasure.org"},
    },
    {"resourceType": "Condition", "id": "c", "encounter": {"reference": "Encounter/1"}},
    {"resourceType": "Procedure", "id": "r", "status": "completed", "performedDateTime": "2025-05-01"},
)  # fmt: skip

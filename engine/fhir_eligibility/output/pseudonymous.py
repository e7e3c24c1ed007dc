"""Outputs with codes in the place of what tells who a patient is: verdicts, problems, and what a run was made from.

What passes is told one by one: codes of resources, files and UIDs, dates, numbers, codes of code systems, units of UCUM, words of closed lists, and what authors of
criteria wrote. All else that comes from the data - texts, displays, descriptions, sentences that quote it - is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from fhir_eligibility.algebra.ucum import UnitError, parse_unit
from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.compiler.criteria.rules import Rule, RuleSet
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.evidence import text_of
from fhir_eligibility.evaluation.records import (
    CriterionResult,
    Evidence,
    ImagingLink,
    PatientIdentifier,
    Series,
    Verdict,
    changed,
)
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.output.run_record import RunRecord, UsedPseudonyms
from fhir_eligibility.output.summary import row_of, safe

_NUMBER = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?")
_DATE = r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:T[0-9:.]{2,20}(?:Z|[-+][0-9]{2}:[0-9]{2})?)?)?)?"
_DATES = re.compile(rf"{_DATE}|(?:{_DATE})?/(?:{_DATE})?")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?")
_COMPARATOR = re.compile(r"<|<=|>=|>|ad")
_CODE = re.compile(r"[^\s|]{1,64}")
_SYSTEM = re.compile(r"(?:https?://|urn:(?:oid|iso|ietf):)[^\s|]{1,200}")
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")
_WORD = re.compile(r"[a-z][a-z-]{1,30}")
_NAMED = re.compile(r"\b([A-Z][A-Za-z]+)/[A-Za-z0-9._:~+%-]*[A-Za-z0-9_~+%-]")
_IN_QUOTES = re.compile(r"`([^`]{1,200})`")
_ELEMENT = re.compile(r"[A-Z][A-Za-z]{1,63}(?:\.[a-z][A-Za-z]{1,63}(?:\[x\])?){1,8}")
_STATUSES = frozenset(
    "registered available cancelled entered-in-error unknown inactive active completed final partial preliminary".split()
)
_PATIENTS = {
    "active": re.compile("true|false"),
    "gender": re.compile("male|female|other|unknown"),
    "birthDate": re.compile(_DATE),
    "deceasedBoolean": re.compile("true|false"),
    "deceasedDateTime": re.compile(_DATE),
}
"""What is shown of a Patient as evidence: elements, and how their values look."""
MESSAGE = "left out, as it may name a patient; a run without --pseudonyms tells what is wrong"


class PseudonymousVerdicts:
    """Verdicts on some rule sets, as they are written with codes."""

    def __init__(self, pseudonyms: Pseudonyms, rule_sets: Sequence[RuleSet]) -> None:
        self.pseudonyms = pseudonyms
        self._types = all_resource_types()
        rules = [rule for rules in rule_sets for rule in rules.walk()]
        self._sentences = frozenset(text for rule in rules for text in _sentences(rule))
        self._notes = frozenset(note for rule in rules for note in rule.notes)
        self._written = "\n".join(" ".join(rule.code.text.split()) for rule in rules if rule.code is not None)

    def __call__(self, verdict: Verdict, compartment: Compartment) -> Verdict:
        """A verdict with codes."""
        by_name: dict[str, list[dict[str, Any]]] = {}
        for kind, resources in compartment.resources.items():
            for resource in resources:
                by_name.setdefault(f"{kind}/{resource.get('id', '')}".rstrip("/"), []).append(resource)
        codes = self.pseudonyms
        return changed(
            verdict,
            patient=codes.patient(verdict.patient),
            criteria=[self._criterion(one, by_name) for one in verdict.criteria],
            imaging=[self._link(link) for link in verdict.imaging],
            identifiers=[self._identifier(one) for one in verdict.identifiers],
            holdings=[self._holding(one) for one in verdict.holdings],
            incomplete=None if verdict.incomplete is None else [self._type(one) for one in verdict.incomplete],
        )

    def _type(self, kind: str) -> str:
        return kind if kind in self._types else "*"

    def _criterion(self, result: CriterionResult, by_name: dict[str, list[dict[str, Any]]]) -> CriterionResult:
        return changed(
            result,
            detail=None if result.detail is None else self._detail(result.detail),
            evidence=[self._evidence(one, by_name) for one in result.evidence],
            members=[self._criterion(one, by_name) for one in result.members],
        )

    def _detail(self, detail: str) -> str | None:
        """What of a detail says nothing of the data: authors' sentences and notes; of any other sentence the records and the elements that it names."""
        if detail in self._sentences:
            return detail
        parts = detail.split("; ")
        notes = [part for part in parts if part in self._notes]
        rest = "; ".join(part for part in parts if part not in self._notes)
        if rest in self._sentences:
            return "; ".join([rest, *notes])
        found = [self.pseudonyms.resource(one[0]) for one in _NAMED.finditer(rest) if one[1] in self._types]
        quoted = [f"`{one}`" for one in _IN_QUOTES.findall(rest) if " ".join(one.split()) in self._written]
        shown = [*dict.fromkeys(found), *dict.fromkeys(quoted)]
        return "; ".join([*([" ".join(shown)] if shown else []), *notes]) or None

    def _evidence(self, evidence: Evidence, by_name: dict[str, list[dict[str, Any]]]) -> Evidence:
        listed = by_name.get(evidence.resource, [])
        # where several bear the name, nobody can tell here which of them is meant
        resource = listed[0] if len(listed) == 1 else {}
        value, unit = _patient_value(evidence.value) if evidence.resource.startswith("Patient/") else _value(resource)
        return changed(
            evidence,
            resource=self.pseudonyms.resource(evidence.resource),
            value=value if evidence.value is not None else None,
            unit=unit,
            date=_matching(_DATES, evidence.date),
            code=code_of(evidence.code),
            display=None,
            note=None,
            file=None if evidence.file is None else self.pseudonyms.file(evidence.file),
        )

    def _link(self, link: ImagingLink) -> ImagingLink:
        codes = self.pseudonyms
        return changed(
            link,
            resource=codes.resource(link.resource),
            study=self._uid(link.study),
            series=[self._series(one) for one in link.series],
            started=_matching(_DATES, link.started),
            modality=[one for one in link.modality if _matching(_MODALITY, one)],
            accession=None if link.accession is None else codes.code("accession", str(link.accession)),
            status=link.status if link.status in _STATUSES else None,
            url=link.url if codes.keep_uids else None,
            urls=link.urls if codes.keep_uids else [],
            warnings=[],
        )

    def _series(self, series: Series) -> Series:
        instances: Any = series.instances
        if isinstance(instances, msgspec.Raw):
            instances = msgspec.json.decode(instances)
        return changed(
            series,
            uid=self._uid(series.uid),
            modality=_matching(_MODALITY, series.modality),
            description=None,
            body_site=None,
            instances=[self.pseudonyms.uid(one) for one in instances],
            url=series.url if self.pseudonyms.keep_uids else None,
        )

    def _uid(self, uid: str | None) -> str | None:
        return None if uid is None else self.pseudonyms.uid(uid)

    def _identifier(self, identifier: PatientIdentifier) -> PatientIdentifier:
        text = f"{identifier.system or ''}|{identifier.value}"
        return changed(identifier, system=None, value=self.pseudonyms.code("identifier", text))

    def _holding(self, holding: Any) -> dict[str, Any]:
        """What archives hold of a study; sentences and differences are left out."""
        codes = self.pseudonyms
        kept = {key: holding[key] for key in ("state", "reason", "asked") if holding.get(key) is not None}
        study = holding.get("study")
        return {
            "patient": codes.patient(holding["patient"]),
            "resource": codes.resource(holding["resource"]),
            **({"study": codes.uid(study)} if study is not None else {}),
            **kept,
            **({"archive": holding["archive"]} if codes.keep_uids and holding.get("archive") else {}),
            "missing_series": [codes.uid(uid) for uid in holding["missing_series"]],
            "missing_instances": [
                {"series": codes.uid(one["series"]), "instances": [codes.uid(uid) for uid in one["instances"]]}
                for one in holding["missing_instances"]
            ],
            "differences": [],
        }


def list_row(pseudonyms: Pseudonyms, compartment: Compartment) -> str:
    """The row of the list that tells whose a code is."""
    patient = compartment.patient or {}
    identifiers = patient.get("identifier")
    known = [
        f"{one.get('system') or ''}|{one.get('value')}".removeprefix("|")
        for one in (identifiers if isinstance(identifiers, list) else ())
        if isinstance(one, dict) and one.get("value")
    ]
    reference = compartment.reference
    return row_of([pseudonyms.patient(reference), safe(reference), safe("; ".join(known))])


def _sentences(rule: Rule) -> Iterator[str]:
    """The sentences of a rule that are the same whoever the patient is."""
    yield rule.absent
    yield from (cause.detail for cause in rule.causes)
    if rule.detail is not None:
        yield rule.detail


def _matching(pattern: re.Pattern[str], text: Any) -> str | None:
    return text if isinstance(text, str) and pattern.fullmatch(text) else None


def code_of(code: str | None) -> str | None:
    """`system|code`, where it looks like one."""
    system, _, code_alone = (code or "").rpartition("|")
    return code if _matching(_CODE, code_alone) and (not system or _matching(_SYSTEM, system)) else None


def _patient_value(text: str | None) -> tuple[str | None, None]:
    """The properties of a Patient, such as `birthDate 1970-01-01, gender female`."""
    kept = []
    for part in (text or "").split(", "):
        name, _, value = part.partition(" ")
        if name in _PATIENTS and _PATIENTS[name].fullmatch(value):
            kept.append(part)
    return ", ".join(kept) or None, None


def _value(resource: dict[str, Any]) -> tuple[str | None, str | None]:
    """Value and unit of a record: numbers, dates, truths and codes; no text."""
    quantity = resource.get("valueQuantity")
    if isinstance(quantity, dict):
        number, comparator = quantity.get("value"), quantity.get("comparator")
        shown = _matching(_NUMBER, text_of(number)) if number is not None and not isinstance(number, bool) else None
        before = comparator if _matching(_COMPARATOR, comparator) else ""
        return None if shown is None else f"{before}{shown}", ucum_unit(quantity.get("code") or quantity.get("unit"))
    for name, value in resource.items():
        if name == "valueBoolean" and isinstance(value, bool):
            return text_of(value), None
        if name == "valueInteger":
            return _matching(_NUMBER, text_of(value)), None
        if name == "valueDateTime":
            return _matching(_DATES, value), None
        if name == "valueTime":
            return _matching(_TIME, value), None
        if name == "valueCodeableConcept" or (
            name == "outcome" and not any(key.startswith("value") for key in resource)
        ):
            return _first_code(value), None
    return None, None


def _first_code(concept: Any) -> str | None:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, dict) and isinstance(code := coding.get("code"), str):
            system = coding.get("system")
            return code_of(f"{system}|{code}" if isinstance(system, str) and system else code)
    return None


def date_of(text: str) -> str | None:
    """A text that is a date, a time, or a period, None for any other."""
    return text if _DATES.fullmatch(text) or _TIME.fullmatch(text) else None


def ucum_unit(unit: Any) -> str | None:
    """A unit of UCUM without annotations, None for any other text."""
    if not isinstance(unit, str) or len(unit) > 40 or "{" in unit:
        return None
    try:
        parse_unit(unit)
    except UnitError:
        return None
    return unit


def pseudonymous_problem(problem: Problem, pseudonyms: Pseudonyms) -> Problem:
    """A problem without what it quotes: its kind and place stay, the file, the record and the patient as codes."""
    return problem.model_copy(
        update={
            "file": None if problem.file is None else pseudonyms.file(problem.file),
            "resource": None if problem.resource is None else pseudonyms.resource(problem.resource),
            "patient": None if problem.patient is None else pseudonyms.resource(problem.patient),
            "element": _matching(_ELEMENT, problem.element),
            "message": MESSAGE,
            "hint": None,
        }
    )


def pseudonymous_problems(problems: Iterable[Problem], pseudonyms: Pseudonyms | None) -> Iterator[Problem]:
    """Problems as they are written."""
    for problem in problems:
        yield problem if pseudonyms is None else pseudonymous_problem(problem, pseudonyms)


def pseudonymous_record(record: RunRecord, pseudonyms: Pseudonyms) -> RunRecord:
    """What a run was made from, without the names of data files, which may be those of patients."""
    data = [one.model_copy(update={"path": pseudonyms.file(one.path)}) for one in record.data]
    digests = {
        **record.digests,
        **({"data": pseudonyms.code("data", record.digests["data"])} if record.digests else {}),
    }
    missing = [one.model_copy(update={"why": None if one.why is None else MESSAGE}) for one in record.completeness]
    used = UsedPseudonyms(key=pseudonyms.name_of_key, uids="kept" if pseudonyms.keep_uids else "coded")
    return record.model_copy(update={"data": data, "digests": digests, "completeness": missing, "pseudonyms": used})

"""What `import fhir_eligibility` offers: the names, what they say of themselves, and that odd values are refused in our own words."""

from __future__ import annotations

import inspect
import json
import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.server.client import ServerError
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute"
COHORT = FLUTE / "cohort"
CRITERIA = fhir_eligibility.load_criteria(FLUTE / "mr")
PATIENT = {"resourceType": "Patient", "id": "p"}
MISSPELT = {
    "resourceType": "EvidenceVariable",
    "id": "ev",
    "status": "active",
    "characteristic": [{"definitionExpression": {"language": "text/fhirpath", "expression": "true"}, "exlude": True}],
}


def test_the_names_are_exactly_these() -> None:
    public = {name for name in dir(fhir_eligibility) if not name.startswith("_")} | {"__version__"}
    assert public == set(fhir_eligibility.__all__)
    assert len(fhir_eligibility.__all__) == len(set(fhir_eligibility.__all__))


@pytest.mark.parametrize("name", sorted(fhir_eligibility.__all__))
def test_every_name_says_what_it_is(name: str) -> None:
    value = getattr(fhir_eligibility, name)
    if name == "__version__":
        assert isinstance(value, str)
        return
    own = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own and own.strip()[0].isupper() and own.strip().split("\n")[0].endswith((".", ":"))


def test_help_shows_them() -> None:
    text = pydoc.plain(pydoc.render_doc(fhir_eligibility))
    for name in ("load_criteria", "screen", "Criteria", "Verdict", "compile_fhirpath"):
        assert name in text


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fhir_eligibility' has no attribute 'screening'"):
        fhir_eligibility.screening  # noqa: B018


def test_values_are_short_when_they_are_shown() -> None:
    verdict = next(iter(fhir_eligibility.screen(CRITERIA, COHORT, now="2026-06-01")))
    (rules,) = CRITERIA.rules
    compartment = next(iter(fhir_eligibility.compartments_of([PATIENT])))
    expression = fhir_eligibility.compile_fhirpath("Patient.name.where(use = 'official')", root="Patient")
    for value in (CRITERIA, rules, *rules.walk(), verdict, verdict.criteria, compartment, expression):
        assert len(repr(value)) <= 160 * (len(value) if isinstance(value, list) else 1) and "\n" not in repr(value)
    assert repr(verdict).startswith(f"<Verdict {verdict.patient}: {verdict.verdict} by ")
    assert "0 errors" in repr(CRITERIA) and CRITERIA.rules[0].key in repr(CRITERIA)


# -- odd values

ODD: dict[str, Any] = {
    "none": None,
    "number": 5,
    "float": 2.5,
    "nan": float("nan"),
    "true": True,
    "empty text": "",
    "blanks": "  ",
    "text": "nowhere at all",
    "NUL": "a\0b",
    "bytes": b"bytes",
    "empty list": [],
    "list": [1, 2],
    "texts": ["nowhere", ""],
    "nones": [None],
    "tuple": (1, 2),
    "dict": {"a": 1},
    "bundle": {"resourceType": "Bundle", "entry": []},
    "odd bundle": [{"resourceType": "Bundle", "entry": 5}, {"resourceType": 5}, {"resourceType": "Patient", "id": 5}],
    "set": {1},
    "object": object(),
    "type": int,
    "function": len,
    "path": Path("nowhere"),
}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "load_criteria": (
        lambda paths=FLUTE / "mr", **more: fhir_eligibility.load_criteria(paths, **more),
        {
            **dict.fromkeys(("paths", "fhir_version", "variables", "lenient", "libraries", "valuesets")),
            **dict.fromkeys(("allow_missing_valuesets", "terminology_options", "parameters", "force_fhir")),
            **dict.fromkeys(("study_start", "on_error")),
        },
    ),
    "screen": (
        lambda criteria=CRITERIA, data=COHORT, **more: list(fhir_eligibility.screen(criteria, data, **more)),
        {
            **dict.fromkeys(("criteria", "data", "now", "timezone", "absent", "dicomweb", "variables", "parameters")),
            **dict.fromkeys(("value_sets", "strict_cql", "images", "on_problem", "force_fhir")),
        },
    ),
    "compile_fhirpath": (
        lambda text="Patient.active", **more: fhir_eligibility.compile_fhirpath(text, **more),
        dict.fromkeys(("text", "model", "root", "variables", "lenient", "strict", "name")),
    ),
    "compartments_of": (
        lambda resources=(PATIENT,), **more: list(fhir_eligibility.compartments_of(resources, **more)),
        dict.fromkeys(("resources", "model", "on_problem")),
    ),
    "credentials_of": (fhir_eligibility.credentials_of, dict.fromkeys(("text",))),
    "Server": (
        lambda base="http://127.0.0.1:1/fhir", **more: fhir_eligibility.Server(base, **more).close(),
        dict.fromkeys(("base", "credentials", "ca", "allow_http", "patience", "timeout", "wait")),
    ),
    "TerminologyOptions": (
        fhir_eligibility.TerminologyOptions,
        dict.fromkeys(("manifest", "server", "cache", "refresh", "auth")),
    ),
}
# What Python itself says of values that nobody looked at.
FOREIGN = (
    "object has no attribute",
    "unsupported operand",
    "is not subscriptable",
    "not iterable",
    "must be str",
    "NoneType",
)


@pytest.mark.parametrize(("function", "argument"), [(f, a) for f, (_, names) in CALLS.items() for a in names])
def test_odd_values_are_taken_or_refused_in_our_words(function: str, argument: str) -> None:
    call, _ = CALLS[function]
    refused = 0
    for odd, value in ODD.items():
        try:
            call(**{argument: value})
        except (TypeError, ValueError, FileNotFoundError, fhir_eligibility.DiagnosticError, ServerError) as error:
            refused += 1
            said = str(error)
            assert said and not any(words in said for words in FOREIGN), (odd, said)
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            assert frame is not None and "/fhir_eligibility/" in frame.tb_frame.f_code.co_filename, (odd, said)
    assert refused, f"{function}({argument}=...) takes anything"


# -- what used to be silent


def test_criteria_with_errors_raise_with_all_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "ev.json").write_text(json.dumps(MISSPELT))
    with pytest.raises(fhir_eligibility.DiagnosticError, match="did you mean exclude") as raised:
        fhir_eligibility.load_criteria(tmp_path)
    assert [(d.code, d.severity) for d in raised.value.diagnostics] == [("unknown-element", "error")]
    kept = fhir_eligibility.load_criteria(tmp_path, on_error="keep")
    assert [d.code for d in kept.errors] == ["unknown-element"]
    (verdict,) = [
        v for v in fhir_eligibility.screen(kept, COHORT, now="2026-06-01") if v.patient == "Patient/example-01"
    ]
    assert (verdict.verdict, verdict.criteria[0].reason) == ("undetermined", "needs-review")


@pytest.mark.parametrize("data", ["nowhere", ["nowhere"], Path("nowhere"), [COHORT, "nowhere"]])
def test_data_that_is_not_there_raises_at_once(data: Any) -> None:
    with pytest.raises(FileNotFoundError, match="data: nowhere does not exist"):
        fhir_eligibility.screen(CRITERIA, data)


def test_a_bundle_as_a_dict_is_told_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"found a Bundle as a dict; give compartments_of\(\[it\]\)"):
        fhir_eligibility.screen(CRITERIA, {"resourceType": "Bundle", "entry": []})  # type: ignore[arg-type]


def test_a_path_in_place_of_criteria() -> None:
    with pytest.raises(TypeError, match="expected what load_criteria gives, found the path 'criteria'"):
        fhir_eligibility.screen("criteria", COHORT)  # type: ignore[arg-type]


def test_a_text_in_place_of_a_list_is_one_path() -> None:
    libraries = str(FLUTE / "cql")
    one, several = (fhir_eligibility.load_criteria(FLUTE / "mr", libraries=given) for given in (libraries, [libraries]))
    assert one.diagnostics == several.diagnostics
    with pytest.raises(FileNotFoundError, match="libraries: folder does not exist"):
        fhir_eligibility.load_criteria(FLUTE / "mr", libraries="folder")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"absent": "unkown"}, "absent: expected 'default' or 'unknown' or 'not-met', found 'unkown'"),
        ({"strict_cql": "no"}, "strict_cql: expected True or False"),
        ({"on_problem": 5}, "on_problem: expected a function"),
        ({"dicomweb": 5}, "dicomweb: expected a text"),
        ({"dicomweb": "http://u:p@h/x"}, "holds credentials"),
        ({"dicomweb": "ftp://h/x"}, "is not an address of an archive"),
        ({"now": 5}, "now: expected a datetime"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"parameters": {"Name": 5}}, r"expected keys \(library, name\)"),
    ],
)
def test_options_of_a_screening_are_checked(more: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        fhir_eligibility.screen(CRITERIA, COHORT, **more)


@pytest.mark.parametrize("path", ["", "   "])
def test_an_empty_path_is_an_error_everywhere(path: str) -> None:
    with pytest.raises(ValueError, match="the path is empty"):
        fhir_eligibility.load_criteria(path)
    with pytest.raises(ValueError, match="the path is empty"):
        fhir_eligibility.load_criteria(FLUTE / "mr", valuesets=[path])
    with pytest.raises(ValueError, match="the path is empty"):
        fhir_eligibility.screen(CRITERIA, path)


def test_models_are_those_of_load_model() -> None:
    assert [c.id for c in fhir_eligibility.compartments_of([PATIENT], model=load_model("r5"))] == ["p"]

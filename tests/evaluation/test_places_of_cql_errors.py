"""Where an error in the evaluation of CQL stands, as the details of verdicts say."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from fhir_eligibility import load_criteria, screen

LIMIT = "Count(expand { Interval[1, 100000] }) > 0"
URL = "http://example.org/Library/Lib"
LIBRARY = f"""library Lib version '1'
using FHIR version '4.0.1'
context Patient
define "Fine": true
define "Many":
  {LIMIT}
"""


def detail(tmp_path: Path, text: str, **more: Any) -> tuple[str, str]:
    """The detail of the one criterion, and where the artifact says that it stands."""
    content = {"contentType": "text/cql", "data": b64encode(LIBRARY.encode()).decode()}
    library = {"resourceType": "Library", "url": URL, "name": "Lib", "version": "1", "status": "active"}
    library |= {"type": {"coding": [{"code": "logic-library"}]}, "content": [content]}
    (tmp_path / "Lib.json").write_text(json.dumps(library), "utf-8")
    expression = {"language": "text/cql", "expression": text, **more}
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active"}
    path = tmp_path / "e.json"
    path.write_text(json.dumps({**artifact, "characteristic": [{"definitionExpression": expression}]}), "utf-8")
    data = tmp_path / "p.json"
    data.write_text('{"resourceType": "Patient", "id": "p"}', "utf-8")
    (verdict,) = screen(load_criteria(path, libraries=[tmp_path / "Lib.json"]), data)
    (criterion,) = verdict.criteria
    assert criterion.reason == "error" and criterion.detail is not None
    return criterion.detail.partition(" in `")[2].removesuffix(" (expand-limit)"), str(path)


def test_an_expression_is_counted_by_its_own_lines(tmp_path: Path) -> None:
    found, path = detail(tmp_path, LIMIT)
    place = f"{path}:1:88 EvidenceVariable/e EvidenceVariable.characteristic[0]"
    assert found == f"{LIMIT}`, line 1 of the expression in {place}"


def test_an_expression_of_several_lines(tmp_path: Path) -> None:
    found, path = detail(tmp_path, f"true\n  and\n  {LIMIT}")
    place = f"{path}:1:88 EvidenceVariable/e EvidenceVariable.characteristic[0]"
    assert found == f"true and {LIMIT}`, line 1 of the expression in {place}"


def test_an_expression_in_the_names_of_a_library(tmp_path: Path) -> None:
    found, path = detail(tmp_path, f"Fine and {LIMIT}", reference=URL)
    place = f"{path}:1:88 EvidenceVariable/e EvidenceVariable.characteristic[0]"
    assert found == f"Fine and {LIMIT}`, line 1 of the expression in {place}"
    found, _ = detail(tmp_path, "Many and Fine", reference=URL)
    assert found == f"{LIMIT}`, line 6 of 'Many' in the library Lib"


def test_a_define_of_a_library_is_counted_by_the_lines_of_its_file(tmp_path: Path) -> None:
    found, _ = detail(tmp_path, "Many")
    assert found == f"{LIMIT}`, line 6 of 'Many' in {tmp_path / 'Lib.json'}#Library/Lib"

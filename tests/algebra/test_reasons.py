"""The closed list of reasons: what the documentation, the published schema and the engine's records say is one list."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.evaluation.verdict import Verdict

ROOT = Path(__file__).parents[2]


def test_the_documentation_lists_every_reason_once_and_in_order() -> None:
    text = (ROOT / "docs" / "verdicts.md").read_text("utf-8")
    table = text[text.index("| reason | meaning |") :].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [reason.value for reason in Reason]


def test_the_published_schema_allows_exactly_the_reasons() -> None:
    definitions = json.loads(json.dumps(Verdict.model_json_schema()))["$defs"]
    assert definitions["Reason"]["enum"] == [reason.value for reason in Reason]

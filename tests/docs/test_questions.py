"""Questions of newcomers are answered by ARCHITECTURE.md: each row of its table names files, and in these is what it says."""

from __future__ import annotations

import re

import pytest

from fhir_eligibility.algebra.reasons import Reason
from tests.docs.pages import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
TABLE = PAGE.partition("## Where do I look when ...")[2].partition("\n## ")[0]
ROWS = dict(re.findall(r"^\| (.*\?) \| (.*) \|$", TABLE, re.MULTILINE))
# What must be found in the files that the answer names.
ANSWERS = {
    "why was this patient undetermined?": {"class Reason", "def why_in_doubt", "class Unknown"},
    "where is the limit of `expand`?": {"MAX_EXPANDED = 50_000", "MAX_ITEMS ="},
    "what does an operator do with null, a list, an interval?": {"Nulls = Literal"},
    "why does a missing record make this unknown?": {"class Completeness", "def open_gaps"},
    "which value set, which version?": {"class Terminology"},
}


def named(answer: str) -> list[str]:
    return re.findall(r"`((?:engine|tests|docs)/[\w./-]+)`", answer)


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_is_where_the_page_says(question: str) -> None:
    text = ""
    for name in named(ROWS[question]):
        path = ROOT / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        text += "".join(file.read_text("utf-8") for file in files)
    assert [words for words in ANSWERS[question] if words not in text] == []
    assert len(named(ROWS[question])) < 10


PACKAGE = ROOT / "engine" / "fhir_eligibility"
GIVEN = {
    reason: re.findall(r"`([\w/]+(?:\.py|/))`", places)
    for reasons, places in re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| (.*) \|$", TABLE, re.MULTILINE)
    for reason in re.findall(r"[a-z-]+", reasons)
}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_given_where_the_page_says(reason: Reason) -> None:
    gives = re.compile(rf"\bReason\.{reason.name}\b")
    named = set()
    for name in GIVEN[reason.value]:
        path = ROOT / name if "/" in name else PACKAGE / "evaluation" / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        assert any(gives.search(file.read_text("utf-8")) for file in files), f"{name} does not give {reason.value}"
        named |= {*files}
    # where a patient's data decides, the table has every file
    giving = {file for file in (PACKAGE / "evaluation").glob("*.py") if gives.search(file.read_text("utf-8"))}
    assert giving - named == set()


def test_each_invariant_has_tests() -> None:
    holds = PAGE.partition("## What always holds")[2].partition("\n## ")[0]
    points = re.split(r"^\d+\. ", holds, flags=re.MULTILINE)[1:]
    assert len(points) >= 7
    for point in points:
        assert [name for name in named(point) if name.startswith("tests/")], point

"""The parsers against the official grammars: both accept or both reject, and the trees agree (needs `GRAMMAR_ORACLE_DIR`, see `grammar/setup.sh`)."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.artifacts.libraries import load_libraries
from fhir_eligibility.compiler.syntax.cql import parse_expression, parse_library
from fhir_eligibility.compiler.syntax.fhirpath import parse as parse_fhirpath
from tests.differential.grammar.oracle import GrammarOracle
from tests.differential.trees import ours, theirs
from tests.shared import shared
from tests.spec import fhirpath_suite
from tests.spec.fhirpath_cases import read_cases as read_fhirpath

NAMESPACE = "{http://hl7.org/fhirpath/tests}"
# Accepted with a view to what is written in the wild: the word of CQL 1.2 for the offset.
LENIENT = ("timezone from",)
# A keyword is a path element behind a dot: the grammar refuses `text.div`, and every narrative constraint of FHIR has it.
LENIENT_PATH = re.compile(
    r"\.\s*(div|mod|and|or|xor|implies|true|false|(year|month|week|day|hour|minute|second|millisecond)s?)\b"
)


def expressions() -> list[str]:
    """Every expression of the official suite."""
    texts = []
    for file in sorted(shared("conformance", "cql").glob("*.xml")):
        for test in ElementTree.parse(file).getroot().iter(f"{NAMESPACE}test"):
            texts.append(test.findtext(f"{NAMESPACE}expression") or "")
    return texts


def accepts(text: str) -> bool:
    """Whether our parser reads a text without a syntax error."""
    try:
        parse_expression(Source("test", text))
    except DiagnosticError:
        return False
    return True


def mutated(texts: list[str], count: int) -> list[str]:
    """Texts with a word left out, doubled, or put elsewhere."""
    chance = random.Random(20261125)
    out = []
    for _ in range(count):
        words = chance.choice(texts).split()
        index = chance.randrange(len(words))
        word = words.pop(index)
        if chance.random() < 0.5:
            words.insert(chance.randrange(len(words) + 1), word)
        out.append(" ".join(words))
    return out


@pytest.fixture(scope="module")
def oracle() -> GrammarOracle:
    found = GrammarOracle.find()
    if found is None:
        pytest.skip("the grammar oracle is not set up (GRAMMAR_ORACLE_DIR names its folder)")
    return found


def test_official_expressions_are_accepted_alike(oracle: GrammarOracle) -> None:
    texts = expressions()
    assert texts
    answers = oracle.parse([("cql", "expression", text) for text in texts])
    unlike = [t for t, a in zip(texts, answers, strict=True) if accepts(t) != a.accepted]
    assert [t for t in unlike if not any(word in t for word in LENIENT)] == []


def test_mutated_expressions_are_accepted_alike(oracle: GrammarOracle) -> None:
    """`on or` is one word of the grammar; for us `on` alone may still be a name."""
    texts = mutated(expressions(), 1500)
    answers = oracle.parse([("cql", "expression", text) for text in texts])
    unlike = [t for t, a in zip(texts, answers, strict=True) if accepts(t) != a.accepted]
    assert [t for t in unlike if "on or" not in t and not any(word in t for word in LENIENT)] == []


def libraries() -> list[str]:
    """Every CQL library in the shared folder: in FHIR Library resources, and in files."""
    store = load_libraries([shared("ecqm", "open"), shared("flute")])
    texts = {found.source.text for found in store.libraries if not found.source.text.lstrip().startswith("{")}
    assert len(texts) > 30
    return sorted(texts)


def fhirpath_expressions() -> list[str]:
    """The expressions of the official FHIRPath suites, and those of the published criteria."""
    texts: set[str] = set()
    for suite in fhirpath_suite.SUITES:
        if suite.missing() is None:
            texts |= {case.expression for case in read_fhirpath(suite.path())}
    for path in shared("evidencevariables").rglob("*.json"):
        stack: list[Any] = [json.loads(path.read_text("utf-8"))]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                if item.get("language") == "text/fhirpath" and item.get("expression"):
                    texts.add(item["expression"])
                stack.extend(item.values())
            elif isinstance(item, list):
                stack.extend(item)
    return sorted(texts)


def unlike_trees(
    oracle: GrammarOracle, rule: str, texts: list[str], language: str, parse: Any
) -> list[tuple[str, Any]]:
    """The texts that both accept and read differently, with what only one of them has."""
    out = []
    for text, answer in zip(texts, oracle.parse([(language, rule, text) for text in texts]), strict=True):
        if not answer.accepted:
            continue
        try:
            tree = parse(Source("test", text))
        except DiagnosticError:
            continue
        mine, grammar = ours(tree, text), theirs(answer.nodes)
        if mine != grammar:
            out.append((text, sorted((mine - grammar) + (grammar - mine))))
    return out


def test_trees_of_expressions_agree(oracle: GrammarOracle) -> None:
    texts = expressions()
    assert unlike_trees(oracle, "expression", texts + mutated(texts, 1500), "cql", parse_expression) == []


def test_trees_of_libraries_agree(oracle: GrammarOracle) -> None:
    texts = libraries()
    assert all(answer.accepted for answer in oracle.parse([("cql", "library", text) for text in texts]))
    assert unlike_trees(oracle, "library", texts, "cql", parse_library) == []


def test_mutated_libraries_are_accepted_alike(oracle: GrammarOracle) -> None:
    chance = random.Random(7)
    defines = [part for text in libraries() for part in text.split("\n\n") if part.strip().startswith("define")]
    texts = mutated(chance.sample(defines, 300), 600)
    answers = oracle.parse([("cql", "library", text) for text in texts])
    unlike = [t for t, a in zip(texts, answers, strict=True) if reads(parse_library, t) != a.accepted]
    assert [t for t in unlike if "on or" not in t] == []


def test_fhirpath_trees_agree(oracle: GrammarOracle) -> None:
    texts = fhirpath_expressions()
    assert len(texts) > 900
    assert unlike_trees(oracle, "entireExpression", texts, "fhirpath", parse_fhirpath) == []


def test_fhirpath_is_accepted_alike(oracle: GrammarOracle) -> None:
    texts = fhirpath_expressions()
    texts += mutated([text for text in texts if text.strip()], 1000)
    answers = oracle.parse([("fhirpath", "entireExpression", text) for text in texts])
    unlike = [t for t, a in zip(texts, answers, strict=True) if reads(parse_fhirpath, t) != a.accepted]
    assert [t for t in unlike if not LENIENT_PATH.search(t)] == []


def reads(parse: Any, text: str) -> bool:
    """Whether a parser takes a text."""
    try:
        parse(Source("test", text))
    except DiagnosticError:
        return False
    return True

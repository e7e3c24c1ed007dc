"""The CQL parser against the official grammar: both accept or both reject (needs `GRAMMAR_ORACLE_DIR`, see `grammar/setup.sh`)."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree

import pytest

from engine.algebra.diagnostic import DiagnosticError, Source
from engine.compiler.cql.parser import parse_expression
from tests.differential.grammar.oracle import GrammarOracle
from tests.shared import shared

NAMESPACE = "{http://hl7.org/fhirpath/tests}"
# Accepted with a view to what is written in the wild: the word of CQL 1.2 for the offset.
LENIENT = ("timezone from",)


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

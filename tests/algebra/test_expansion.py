"""Three-valued sets of codes: every operation answers as Kleene logic does over its operands, code by code."""

from __future__ import annotations

import pickle
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.expansion import ANY, NOTHING, Expansion, unknown

SYSTEMS = ("s", "t", None)
UNIVERSE = [(system, code) for system, code in product(SYSTEMS, "abc")]
members = st.sets(st.sampled_from(UNIVERSE), max_size=5)
expansions = st.builds(
    lambda codes, maybe, open_, out: Expansion(codes, dict.fromkeys(maybe, "maybe"), dict.fromkeys(open_, "open"), out),
    members,
    members,
    st.sets(st.sampled_from((*SYSTEMS, ANY)), max_size=2),
    members,
)


def kleene_or(a: bool | None, b: bool | None) -> bool | None:
    return True if a or b else None if a is None or b is None else False


def kleene_not(a: bool | None) -> bool | None:
    return None if a is None else not a


@settings(max_examples=400, deadline=None)
@given(expansions, expansions)
def test_operations_are_kleene_logic_code_by_code(a: Expansion, b: Expansion) -> None:
    union, minus, within = a.union(b), a.minus(b), a.within(b)
    for member in UNIVERSE:
        x, y = a.has(member), b.has(member)
        assert union.has(member) is kleene_or(x, y)
        assert within.has(member) is kleene_not(kleene_or(kleene_not(x), kleene_not(y)))
        assert minus.has(member) is kleene_not(kleene_or(kleene_not(x), y))


@settings(max_examples=200, deadline=None)
@given(expansions)
def test_a_system_kept_or_taken_away(a: Expansion) -> None:
    kept, rest = a.of_system("s"), a.without_system("s")
    for member in UNIVERSE:
        assert kept.has(member) is (a.has(member) if member[0] == "s" else False)
        if member[0] != "s":
            assert rest.has(member) is a.has(member)
        else:
            assert rest.has(member) is not True


@settings(max_examples=200, deadline=None)
@given(expansions)
def test_what_is_unknown_has_a_reason_and_what_is_known_has_none(a: Expansion) -> None:
    for member in UNIVERSE:
        assert (a.unsure(member) is not None) is (a.has(member) is None)
    assert a.complete or a.why is not None
    assert pickle.loads(pickle.dumps(a)).digest() == a.digest()


def test_a_missing_part_touches_its_system_alone() -> None:
    found = Expansion([("s", "a")]).union(unknown("no code system", "t"))
    assert [found.has(m) for m in (("s", "a"), ("s", "b"), ("t", "a"))] == [True, False, None]
    assert found.unsure(("t", "a")) == "no code system"
    assert found.minus(Expansion([("t", "a")])).has(("t", "a")) is False
    assert unknown("anything").has(("x", "y")) is None


def test_the_digest_is_of_the_codes_and_not_of_their_order() -> None:
    one, two = [("s", "a"), ("t", "b")], [("t", "b"), ("s", "a")]
    assert Expansion(one).digest() == Expansion(two).digest()
    assert Expansion(one).digest() != Expansion(one[:1]).digest()
    assert Expansion(one).digest() != Expansion(one, open={"u": "x"}).digest()


def test_a_code_without_a_system() -> None:
    one = Expansion([("s", "a")])
    assert (one.by_text("a"), one.by_text("b"), NOTHING.by_text("a")) == (True, False, False)
    with pytest.raises(EvaluationError) as error:
        Expansion([("s", "a"), ("t", "b")]).by_text("a")
    assert error.value.code == "ambiguous-code"
    assert error.value.message == "the code 'a' has no code system, and the value set has several: s, t"
    partly = Expansion([("s", "a")], {("s", "b"): "maybe"})
    assert (partly.by_text("a"), partly.by_text("b"), partly.by_text("c")) == (True, None, False)
    assert unknown("x").by_text("a") is None
    assert Expansion([("s", "a"), ("t", "b")]).in_any_system("b") is True

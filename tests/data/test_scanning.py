"""Blocks of lines read at once come to what line by line comes to."""

from __future__ import annotations

import io
import random

import pytest

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan, TypePlan
from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.records import MemoryShelf
from fhir_eligibility.data.bulk.scanning import LineScanner

CODES = frozenset(("2857-1", "MR"))
PLANS = {
    "codes": TypePlan("Observation", codes=CODES, texts=frozenset(("extension",))),
    "many codes": TypePlan("Observation", codes=frozenset((*CODES, *map(str, range(20)))), texts=frozenset()),
    "every line": TypePlan("Observation"),
    "elements": TypePlan(
        "Observation", frozenset(("resourceType", "id", "status", "subject", "code")), CODES, frozenset()
    ),
    "not read": None,
}
BEGIN = b'{"resourceType":"Observation","id":'
LINES = (
    b'"a","subject":{"reference":"Patient/p"},"code":{"coding":[{"code":"2857-1"}]}}',
    b'"b","subject":{"reference":"Patient/p"},"code":{"coding":[{"code":"MR"}]},"status":"entered-in-error"}',
    b'"c","subject":{"reference":"Patient/p"},"code":{"coding":[{"code":"other"}]}}\r',
    b'"d","subject":{"reference":"Patient/p"},"code":{"coding":[{"code":"\\u004dR"}]}}',
    b'"e","code":{"text":"2857-1 in words"}}',
)
ODD = (
    b'"q\\"x","code":{}}',
    b'"","code":{}}',
    b"7}",
    b'"cut',
    b'"cut off","code":"2857-1',
    b'"a"}{"2857-1"}',
    b'"\xff","code":"2857-1"}',
)


def read(data: bytes, plan: str, monkeypatch: pytest.MonkeyPatch, *, at_once: bool) -> tuple[object, ...]:
    found = PLANS[plan]
    shelf = MemoryShelf()
    reading = ReadPlan("r4", {"Patient": TypePlan("Patient"), **({"Observation": found} if found else {})})
    collector = Collector(Decoders(reading, load_model("r4")), shelf, decoded=True)
    scanner = LineScanner(collector, 0, "x.ndjson")
    with monkeypatch.context() as patch:
        if not at_once:
            patch.setattr(LineScanner, "uniform", lambda *_: False)
        scanner.scan(io.BytesIO(data), 0, None)
    got = collector.collected
    return (
        [(r.id, r.group, r.offset, r.plain, r.facts) for r in shelf.records],
        got.lines,
        +got.used,
        +got.passed,
        # of a line that turns out to be no JSON, only a block notes the id: then it is looked for once more, and found to be none
        {kind: sorted(numbers) for kind, numbers in got.seen.items()} if not got.problems else None,
        {kind: sorted(numbers) for kind, numbers in got.kept.items()},
        [(p.code, p.offset) for p in got.problems],
    )


@pytest.mark.parametrize("plan", sorted(PLANS))
@pytest.mark.parametrize("seed", range(30))
def test_blocks_are_read_as_their_lines_are(plan: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    chosen = [chance.choice(LINES) for _ in range(chance.randrange(1, 40))]
    if seed % 3 == 0:
        chosen[chance.randrange(len(chosen))] = chance.choice(ODD)
    data = b"".join(BEGIN + line + b"\n" for line in chosen)
    assert read(data, plan, monkeypatch, at_once=True) == read(data, plan, monkeypatch, at_once=False)


@pytest.mark.parametrize("line", ODD)
def test_a_line_with_an_odd_id_is_looked_at_by_itself(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"".join(BEGIN + one + b"\n" for one in (LINES[0], line, LINES[2]))
    assert read(data, "codes", monkeypatch, at_once=True) == read(data, "codes", monkeypatch, at_once=False)

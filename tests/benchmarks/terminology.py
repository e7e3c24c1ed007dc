"""`python -m tests.benchmarks.terminology`: what a value set of 100,000 codes costs: reading it, and asking whether a code is in it.

Given as an expansion, as a definition that lists codes, and as a filter over a code system with a hierarchy; membership of codes that are in,
of codes that are out, and of codes that a missing part leaves unknown. All figures are processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fhir_eligibility.algebra.values.clinical import Code, ValueSet
from fhir_eligibility.algebra.values.expansion import Expansion, unknown
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.data.terminology.files import load_terminology

CODES = 100_000
SYSTEM = "http://example.org/cs"
URL = "http://example.org/vs"


def resources(count: int = CODES) -> dict[str, list[dict[str, Any]]]:
    """One value set of `count` codes in three forms."""
    codes = [f"{100_000_000 + 7 * number}" for number in range(count)]
    head = {"resourceType": "ValueSet", "url": URL, "version": "1", "status": "active"}
    contains = [{"system": SYSTEM, "code": code, "display": f"concept {code}"} for code in codes]
    concept = [{"code": code, "display": f"concept {code}"} for code in codes]
    concepts: list[dict[str, Any]] = [{"code": codes[0]}]
    for number in range(1, count):
        parent = {"code": "parent", "valueCode": codes[(number - 1) // 8]}
        concepts.append({"code": codes[number], "property": [parent]})
    system = {"resourceType": "CodeSystem", "url": SYSTEM, "content": "complete", "concept": concepts}
    is_a = {"system": SYSTEM, "filter": [{"property": "concept", "op": "is-a", "value": codes[0]}]}
    return {
        "an expansion": [{**head, "expansion": {"total": count, "contains": contains}}],
        "a list of codes": [{**head, "compose": {"include": [{"system": SYSTEM, "concept": concept}]}}],
        "is-a over its code system": [{**head, "compose": {"include": [is_a]}}, system],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.terminology", description=__doc__)
    parser.add_argument("--codes", type=int, default=CODES)
    count = parser.parse_args().codes
    print(f"a value set of {count:,} codes, from a file to its codes (limit for an expansion: 0.5 s)")
    for title, given in resources(count).items():
        with tempfile.TemporaryDirectory() as folder:
            for number, resource in enumerate(given):
                (Path(folder) / f"{number}.json").write_text(json.dumps(resource))
            times = []
            for _ in range(5):
                begun = time.process_time()
                found = load_terminology([folder]).get(URL)
                times.append(time.process_time() - begun)
        assert isinstance(found, Expansion) and len(found.codes) == count and found.complete
        print(f"  {title:28} {statistics.median(times):.3f} s")
        members = found
    begun = time.process_time()
    members.digest()
    print(f"  {'its digest':28} {time.process_time() - begun:.3f} s")
    value_set = ValueSet(URL)
    _, inside = max(members.codes, key=str)
    print("membership, microseconds a code (limit 1)")
    partly = members.union(unknown("not given", "http://example.org/other"))
    for title, set_, code, wanted in (
        ("a code that is in", members, Code(inside, SYSTEM), True),
        ("a code that is out", members, Code("none", SYSTEM), False),
        ("in, of a set known in part", partly, Code(inside, SYSTEM), True),
        ("out, of a set known in part", partly, Code("none", SYSTEM), False),
        ("unknown", partly, Code("none", "http://example.org/other"), None),
    ):
        run = Run(value_sets={URL: set_})
        assert run.in_value_set(code, value_set) is wanted
        cost = per_call(lambda run=run, code=code: run.in_value_set(code, value_set))  # type: ignore[misc]
        print(f"  {title:28} {cost * 1e6:.2f}")
    return 0


def per_call(function: Callable[[], Any]) -> float:
    """Median seconds a call."""
    return statistics.median(timeit.repeat(function, number=20_000, repeat=7, timer=time.process_time)) / 20_000


if __name__ == "__main__":
    raise SystemExit(main())

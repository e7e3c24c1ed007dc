"""`python -m tests.benchmarks.cql`: what a CQL library costs from text to callable, and its queries beside hand-written Python.

A library of a thousand lines, made from a seed: cold in a process of its own, from the cache in one that runs. Queries over a thousand elements
against the same in plain Python. The longest library of the measures, where they are there.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.algebra.temporal import Date
from fhir_eligibility.algebra.values.clinical import Tuple
from fhir_eligibility.compiler.criteria.cache import CachingCompiler
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from tests.spec import ecqm_suite

ROOT = Path(__file__).resolve().parents[2]
LINES = 1000
_COLD = "import sys, time; t = time.perf_counter(); from tests.benchmarks.cql import cold; cold(t)"


def library(lines: int = LINES, seed: int = 1) -> str:
    """A library of defines of the kinds that criteria are made of, System types only."""
    chance = random.Random(seed)
    out = [
        "library Bench version '1'",
        'parameter "Period" Interval<DateTime> default Interval[@2024-01-01T, @2024-12-31T]',
    ]
    names: list[str] = []
    while len(out) < lines:
        number = len(names)
        name = f"Define {number}"
        earlier = f'"{chance.choice(names)}"' if names else "true"
        a, b = chance.randint(1, 40), chance.randint(1, 12)
        bodies = [
            [f"  ({{ {a}, {b}, {a + b} }}) N", f"    where N > {b} and N <= {a}", "    return N * 2"],
            [
                "  exists (({ Tuple { born: @2024-02-03, value: 3.5 }, Tuple { born: @2024-05-01, value: 7.25 } }) M",
                f"      where M.born same month or after @2024-{b:02}-01",
                f"        and M.value between 2.0 and {a}.5)",
            ],
            [f"  case when {a} > {b} then 'high' when {a} = {b} then 'same'", "    else 'low'", "  end"],
            [
                f"  Interval[@2024-01-{b:02}, @2024-03-01] overlaps Interval[@2024-02-01, @2025-01-01]",
                f"    or {a} in {{ 1, 2, 3 }}",
            ],
            [f"  {a} 'mg' + {b} 'g' > 2000 'mg'", f"    and months between @2020-01-15 and @2024-{b:02}-01 >= {a}"],
            [
                "  from ({ 1, 2, 3 }) A, ({ 2, 3, 4 }) B",
                "    let total: A + B",
                f"    where total > {b} mod 5",
                "    return Tuple { a: A, total: total }",
                "    sort by total desc, a",
            ],
            [f"  Coalesce(null as Integer, {a}) + Count({earlier_list(names, chance)})"],
        ]
        body = bodies[number % len(bodies)]
        out += [f'define "{name}":', *body, ""]
        names.append(name)
        if number % 50 == 49:
            out += [f"define function Twice{number}(value Integer):", "  value * 2", ""]
    return "\n".join(out) + f'\ndefine "All": {earlier} is not null\n'


def earlier_list(names: list[str], chance: random.Random) -> str:
    """A list to count: the query of an earlier define, or a literal."""
    queries = [name for index, name in enumerate(names) if index % 7 == 0]
    return f'"{chance.choice(queries)}"' if queries else "{ 1, 2 }"


def cold(started: float) -> None:
    """In a new process: text to callable; prints seconds with and without the imports."""
    imported = time.perf_counter()
    source = Source("bench.cql", library())
    begun = time.perf_counter()
    LoadedLibrary(Compiler().compile(source)).function("Define 1")
    done = time.perf_counter()
    print(f"{done - begun:.3f} {imported - started:.3f}")


@dataclass(frozen=True, slots=True)
class Contest:
    """A define over a thousand rows, and the same by hand."""

    title: str
    cql: str
    by_hand: Callable[[list[Any]], Any]


def rows() -> list[Any]:
    """A thousand tuples: a number, a name, a day."""
    chance = random.Random(2)
    return [
        Tuple(
            value=chance.randint(0, 9),
            amount=Decimal(chance.randint(0, 90)) / 10,
            name=chance.choice("abc"),
            born=Date(2024, chance.randint(1, 12), chance.randint(1, 28)),
        )
        for _ in range(1000)
    ]


PARAMETER = "parameter Rows List<Tuple { value Integer, amount Decimal, name String, born Date }>\n"
_FROM, _TO = Date(2024, 3, 1), Date(2024, 9, 30)


def _numbers(found: list[Any]) -> Any:
    return [x["value"] for x in found if x["value"] is not None and x["value"] > 5 and x["name"] == "a"]


def _exists(found: list[Any]) -> Any:
    return any(x["amount"] is not None and x["amount"] > 100 for x in found)


def _days(found: list[Any]) -> Any:
    low, high = _FROM._parts, _TO._parts
    return [x for x in found if x["born"] is not None and low <= x["born"]._parts <= high]


def _related(found: list[Any]) -> Any:
    return [x for x in found if any(y == x["value"] for y in (3, 4))]


def _total(found: list[Any]) -> Any:
    return sum(x["value"] for x in found if x["value"] is not None)


CONTESTS = (
    Contest("where and return", "Rows X where X.value > 5 and X.name = 'a' return all X.value", _numbers),
    Contest("exists", "exists (Rows X where X.amount > 100.0)", _exists),
    Contest("during an interval of dates", "Rows X where X.born during Interval[@2024-03-01, @2024-09-30]", _days),
    Contest("with such that", "Rows X with ({3, 4}) Y such that Y = X.value", _related),
    Contest("sum", "Sum(Rows X return all X.value)", _total),
)


def per_call(function: Callable[[], Any]) -> float:
    """Median seconds of the processor a call: others that share the machine do not count."""
    number = max(1, int(0.02 / max(1e-9, timeit.timeit(function, number=1))))
    return statistics.median(timeit.repeat(function, timer=time.process_time, number=number, repeat=7)) / number


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.benchmarks.cql", description=__doc__).parse_args()
    text = library()
    print(f"a library of {text.count(chr(10))} lines, from text to callable:")
    found = [
        subprocess.run([sys.executable, "-c", _COLD], cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    times = sorted(tuple(map(float, run.stdout.split())) for run in found)
    print(f"  cold, in a new process   {times[1][0]:.3f} s (limit 1.5 s), and {times[1][1]:.3f} s to import")
    with tempfile.TemporaryDirectory() as folder:
        compiler = CachingCompiler()
        compiler.folder = Path(folder) / "cache"
        source = Source("bench.cql", text)
        compiler.compile(source)

        def cached() -> Any:
            again = CachingCompiler()
            again.folder = compiler.folder
            return LoadedLibrary(again.compile(source)).function("Define 1")

        print(f"  from the cache           {per_call(cached) * 1000:.1f} ms (limit 60 ms)")
    _longest()
    print("a query over 1000 rows, microseconds: emitted, by hand, ratio (limit 3)")
    run = Run(parameters={("", "Rows"): rows()})
    data = rows()
    for contest in CONTESTS:
        loaded = LoadedLibrary(Compiler().compile(Source("query.cql", f"{PARAMETER}define Q: {contest.cql}\n")))
        function = loaded.function("Q")
        assert function(run) == contest.by_hand(data), contest.title
        ours = per_call(lambda function=function: function(run))  # type: ignore[misc]
        theirs = per_call(lambda contest=contest: contest.by_hand(data))  # type: ignore[misc]
        print(f"  {contest.title:30} {ours * 1e6:8.1f} {theirs * 1e6:8.1f} {ours / theirs:6.2f}")
    return 0


def _longest() -> None:
    root = ecqm_suite.folder() / "open"
    if not root.is_dir():
        print("  (the measures are not there)")
        return
    path = max(
        (p for p in root.iterdir() if p.is_dir()),
        key=lambda p: sum(f.stat().st_size for f in (p / "library").iterdir()),
    )
    begun = time.perf_counter()
    loaded = ecqm_suite.load(path)
    LoadedLibrary(loaded.compiled)
    took = time.perf_counter() - begun
    lines = sum(library.source.text.count("\n") for library in loaded.compiled.closure())
    print(f"  {path.name[:40]} with its includes, {lines} lines: {took:.2f} s")


if __name__ == "__main__":
    sys.exit(main())

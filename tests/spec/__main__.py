"""`python -m tests.spec`: run the official suites and print one line each, `fhirpath-r4 935/935`.

Exit status 0 where exactly the tests of gaps.toml fail, 1 otherwise, and where a suite ran no case. A suite that is not there is skipped, and said to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.spec.gaps import Gap, compare_with_gaps, load_gaps
from tests.spec.model import Report
from tests.spec.suites import SUITES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.spec", description="Run the official conformance suites.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every case and what became of it")
    parser.add_argument("--suite", metavar="NAME", action="append", choices=[suite.name for suite in SUITES])
    parser.add_argument("--verbose", action="store_true", help="list every case that fails, known gaps included")
    options = parser.parse_args(arguments)

    gaps = load_gaps()
    reports = []
    for suite in SUITES:
        if options.suite and suite.name not in options.suite:
            continue
        if reason := suite.missing():
            print(f"{suite.name} skipped: {reason}")
            continue
        report = compare_with_gaps(suite.name, suite.run(suite.path()), gaps.values())
        print(f"{suite.name} {report.passed}/{len(report.results)}", flush=True)
        show(report, gaps, options.verbose)
        reports.append(report)
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(reports, gaps), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0 if all(report.as_expected for report in reports) else 1


def show(report: Report, gaps: dict[tuple[str, str], Gap], verbose: bool) -> None:
    """On stderr: the surprises of a suite, and with `verbose` every failure."""
    if verbose:
        for result in report.results:
            if not result.passed:
                gap = gaps.get((report.suite, result.name))
                known = f" [{gap.kind}: {gap.reason}]" if gap else ""
                text = " ".join(result.expression.split())
                print(f"  {result.name} ({result.group}): {text}\n    {result.detail}{known}", file=sys.stderr)
    surprises = report.surprises()
    for line in surprises if verbose else surprises[:10]:
        print(f"  {' '.join(line.split())}", file=sys.stderr)
    if len(surprises) > 10 and not verbose:
        print(f"  ... and {len(surprises) - 10} more; --verbose lists them all", file=sys.stderr)


def as_json(reports: list[Report], gaps: dict[tuple[str, str], Gap]) -> dict[str, Any]:
    """Every case and what became of it, by suite."""
    return {
        report.suite: {
            "passed": report.passed,
            "total": len(report.results),
            "as_expected": report.as_expected,
            "cases": [
                {
                    "name": result.name,
                    "group": result.group,
                    "expression": result.expression,
                    "passed": result.passed,
                    "detail": result.detail or None,
                    "gap": gap.kind if (gap := gaps.get((report.suite, result.name))) else None,
                }
                for result in report.results
            ],
        }
        for report in reports
    }


if __name__ == "__main__":
    sys.exit(main())

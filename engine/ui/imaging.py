"""`eligibility imaging verify | fetch | thumbnails | manifest | store`: the images behind the verdicts of a run.

Exit statuses: 0 done; 1 done, but something was not reached, not whole or not taken (with --strict also: not all is present); 2 the command
could not be carried out; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from engine.data.dicomweb.client import Client
from engine.evaluation.verdict import HoldingState
from engine.runners.verify import VerifyResult, verify
from engine.ui.archive import access_of, add_archive_options, places_of


def add_command(commands: Any) -> None:
    """Add `imaging` with its verbs to the command line."""
    imaging = commands.add_parser(
        "imaging", help="the images behind verdicts: are they held, fetch, show, list, upload"
    )
    verbs = imaging.add_subparsers(required=True, metavar="VERB")
    _verify(verbs)


def _run_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("screened", type=Path, metavar="RUN", help="the folder that `eligibility screen --out` wrote")


def _verify(verbs: Any) -> None:
    command = verbs.add_parser("verify", help="ask archives whether they hold the images of a run (QIDO-RS)")
    _run_argument(command)
    add_archive_options(command)
    command.add_argument("--afresh", action="store_true", help="ask for everything, whatever is known from before")
    command.add_argument("--strict", action="store_true", help="exit with 1 where not all studies are present")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")
    command.set_defaults(run=run_verify)


def run_verify(options: argparse.Namespace) -> int:
    """`eligibility imaging verify`"""
    places, access = places_of(options), access_of(options)
    begun = time.monotonic()
    with Client(access) as client:
        result = verify(options.screened, client, places, afresh=options.afresh, progress=progress(options, "studies"))
    if not options.quiet:
        print(verify_table(result, time.monotonic() - begun, access.concurrency))
        print(
            f"written to {options.screened / 'archive.ndjson' if options.screened.is_dir() else options.screened.parent}"
        )
    if result.states[HoldingState.UNREACHABLE]:
        if not options.quiet:
            print("run this again to ask for what was not reached")
        return 1
    all_there = result.states[HoldingState.PRESENT] == result.studies
    return 1 if options.strict and not all_there else 0


def verify_table(result: VerifyResult, seconds: float, concurrency: int) -> str:
    """What archives hold, a state a line."""
    lines = [f"{result.studies:>8,}  studies, {result.asked:,} asked for now"]
    for state in HoldingState:
        if result.states[state]:
            why = ""
            if state == HoldingState.UNREACHABLE:
                why = " (" + ", ".join(f"{reason}: {count:,}" for reason, count in sorted(result.reasons.items())) + ")"
            lines.append(f"{result.states[state]:>8,}  {state.value}{why}")
    rate = f", {result.requests / seconds:,.0f} a second" if seconds > 0 and result.requests else ""
    lines.append(f"{result.requests:>8,}  requests in {seconds:,.1f} s{rate}, {concurrency} at once")
    return "\n".join(lines)


def progress(options: argparse.Namespace, what: str) -> Any:
    """A function that shows a count on the terminal, None where there is none."""
    if options.quiet or not sys.stderr.isatty():
        return None

    def show(count: int) -> None:
        print(f"\r{count:,} {what}", end="", file=sys.stderr, flush=True)

    return show

"""`eligibility imaging verify | fetch | thumbnails | manifest | store`: the images behind the verdicts of a run.

Exit statuses: 0 done; 1 done, but something was not reached, not whole or not taken (with --strict also: not all is present); 2 the command
could not be carried out; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fhir_eligibility.data.archives.address import archive_address
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.evaluation.verdict import HoldingState
from fhir_eligibility.output.transfers import FileTransfer, SeriesTransfer, StoreState, TransferState, write_uploads
from fhir_eligibility.runners.imaging.fetch import FetchOptions, SeriesFilter, fetch
from fhir_eligibility.runners.imaging.manifest import manifest
from fhir_eligibility.runners.imaging.store import store_files
from fhir_eligibility.runners.imaging.thumbnails import KINDS, thumbnails
from fhir_eligibility.runners.imaging.verify import VerifyResult, verify
from fhir_eligibility.ui.options.archive import access_of, places_of
from fhir_eligibility.ui.options.archive_options import add_archive_options
from fhir_eligibility.ui.options.argument_types import whole_number
from fhir_eligibility.ui.options.command_parser import CommandParser, where_to_read
from fhir_eligibility.ui.options.options import add_config_options, add_sharing_option
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.terminal.logs import add_log_options, on_terminal, say
from fhir_eligibility.ui.terminal.visible import plain

PAGE = "imaging.md"
STATUSES_OF_IMAGES = """\
exit statuses:
  0    done
  1    done, but something was not reached, not whole or not taken (with --strict also: not all is present)
  2    could not be carried out
  130  interrupted"""


def add_options(command: CommandParser) -> None:
    """The verbs of the command, and what each is told."""
    verbs = command.add_subparsers(required=True, metavar="VERB", title="verbs")
    command.epilog = (
        f"`eligibility imaging VERB --help` tells the options of a verb, with examples.\n\n{where_to_read(PAGE)}"
    )
    _verify(verbs)
    _fetch(verbs)
    _thumbnails(verbs)
    _manifest(verbs)
    _store(verbs)


def _run_argument(command: CommandParser) -> None:
    command.add_argument("screened", type=Path, metavar="RUN", help="the folder that `eligibility screen --out` wrote")


def _verify(verbs: Any) -> None:
    command: CommandParser = verbs.add_parser(
        "verify", help="ask archives whether they hold the images of a run (QIDO-RS)"
    )
    _run_argument(command)
    add_archive_options(command)
    group = command.add_argument_group("what is asked")
    group.add_argument("--afresh", action="store_true", help="ask for everything, whatever is known from before")
    group.add_argument("--strict", action="store_true", help="exit with 1 where not all studies are present")
    add_sharing_option(group)
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility imaging verify results --dicomweb https://archive/dicom-web",
        "eligibility imaging verify results --dicomweb https://archive/dicom-web --dicomweb-auth user=me,password-file=secret --strict",
        page=PAGE,
        statuses=STATUSES_OF_IMAGES,
    )
    command.set_defaults(run=run_verify)


def _choice(command: CommandParser) -> Any:
    """Which images, and where to; returns the group of these options."""
    group = command.add_argument_group("which images, and where to")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write into")
    group.add_argument(
        "--all",
        action="store_true",
        help="all images that verdicts name, not only those that met criteria of the included",
    )
    add_sharing_option(group)
    return group


def _series_choice(group: Any) -> None:
    group.add_argument("--modality", nargs="+", default=[], metavar="CODE", help="series of these modalities only")
    group.add_argument(
        "--description",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="series whose description matches one of these (* and ?; capitals do not matter)",
    )


def _fetch(verbs: Any) -> None:
    command: CommandParser = verbs.add_parser(
        "fetch", help="download the images of included patients (WADO-RS); resumes"
    )
    _run_argument(command)
    _series_choice(_choice(command))
    add_archive_options(command)
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility imaging fetch results --dicomweb https://archive/dicom-web --out images --modality MR",
        page=PAGE,
        statuses=STATUSES_OF_IMAGES,
    )
    command.set_defaults(run=run_fetch)


def _thumbnails(verbs: Any) -> None:
    command: CommandParser = verbs.add_parser(
        "thumbnails", help="a picture of each series of included patients, and a page with all"
    )
    _run_argument(command)
    group = _choice(command)
    _series_choice(group)
    group.add_argument("--format", choices=tuple(KINDS), default="png", help="of the pictures (default: png)")
    group.add_argument("--size", type=PIXELS, metavar="PIXELS", help="at most so many pixels a side")
    add_archive_options(command)
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility imaging thumbnails results --dicomweb https://archive/dicom-web --out pictures --size 256",
        page=PAGE,
        statuses=STATUSES_OF_IMAGES,
    )
    command.set_defaults(run=run_thumbnails)


def _manifest(verbs: Any) -> None:
    command: CommandParser = verbs.add_parser(
        "manifest", help="the UIDs as CSV, as lists for download tools, and as FHIR resources"
    )
    _run_argument(command)
    _choice(command).add_argument(
        "--held", action="store_true", help="only studies that `imaging verify` found present"
    )
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility imaging manifest results --out manifest --held",
        page=PAGE,
        statuses=STATUSES_OF_IMAGES,
    )
    command.set_defaults(run=run_manifest)


def _store(verbs: Any) -> None:
    command: CommandParser = verbs.add_parser("store", help="upload DICOM files (STOW-RS), and say what became of each")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="DICOM files, or folders of them")
    group = command.add_argument_group("what is written")
    group.add_argument("--out", type=Path, metavar="DIR", help="write store.ndjson and store.csv into this folder")
    add_sharing_option(group)
    add_archive_options(command, endpoints=False)
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility imaging store studies --dicomweb http://localhost:8042/dicom-web --out uploads",
        page=PAGE,
        statuses=STATUSES_OF_IMAGES,
    )
    command.set_defaults(run=run_store)


PIXELS = whole_number(8, 8192)


def run_verify(options: argparse.Namespace) -> int:
    """`eligibility imaging verify`"""
    places, access = places_of(options), access_of(options)
    begun = time.monotonic()
    with Client(access) as client:
        shown = progress(options, "studies")
        shared = options.shared_outputs
        result = verify(options.screened, client, places, afresh=options.afresh, progress=shown, shared=shared)
    if not options.quiet:
        print(verify_table(result, time.monotonic() - begun, access.concurrency))
        print(
            f"written to {options.screened / 'archive.ndjson' if options.screened.is_dir() else options.screened.parent}"
        )
    if result.states[HoldingState.UNREACHABLE]:
        if not options.quiet:
            print("run this again to ask for what was not reached")
        status = Status.INCOMPLETE
    else:
        all_there = result.states[HoldingState.PRESENT] == result.studies
        status = Status.INCOMPLETE if options.strict and not all_there else Status.OK
    return ended("verified", status, studies=result.studies, requests=result.requests, states=_by_name(result.states))


def run_fetch(options: argparse.Namespace) -> int:
    """`eligibility imaging fetch`"""
    choice = _fetch_options(options)
    with Client(access_of(options)) as client, _without_warnings():
        return _report(options, fetch(options.screened, options.out, client, choice), "files")


def run_thumbnails(options: argparse.Namespace) -> int:
    """`eligibility imaging thumbnails`"""
    choice = _fetch_options(options)
    with Client(access_of(options)) as client:
        found = thumbnails(options.screened, options.out, client, choice, kind=options.format, size=options.size)
        return _report(options, found, "pictures")


def _fetch_options(options: argparse.Namespace) -> FetchOptions:
    series = SeriesFilter(tuple(options.modality), tuple(options.description))
    return FetchOptions(places=places_of(options), series=series, everything=options.all, shared=options.shared_outputs)


def _report(options: argparse.Namespace, records: Iterable[SeriesTransfer], what: str) -> int:
    """Count what came, say what did not, and answer the exit status."""
    states: Counter[str] = Counter()
    fetched = size = remarks = 0
    for record in records:
        states[record.state] += 1
        remarks += record.state == TransferState.COMPLETE and record.detail is not None
        fetched += record.fetched
        size += record.bytes
        if record.state != TransferState.COMPLETE and not options.quiet:
            where = "/".join(uid for uid in (record.study, record.series) if uid)
            why = record.detail or record.reason or ""
            print(f"{record.patient} {where}: {record.state}{': ' + why if why else ''}")
    if not options.quiet:
        for state in TransferState:
            if states[state]:
                print(f"{states[state]:>8,}  series {state.value}")
        if remarks:
            print(f"{remarks:>8,}  of these with a remark, in the column `detail` of the table")
        print(f"{fetched:>8,}  {what} came now, {size:,} bytes")
        print(f"written to {options.out}")
    status = Status.OK if states[TransferState.COMPLETE] == states.total() else Status.INCOMPLETE
    return ended("fetched", status, **{what: fetched}, bytes=size, series=_by_name(states))


def run_manifest(options: argparse.Namespace) -> int:
    """`eligibility imaging manifest`"""
    shared = options.shared_outputs
    result = manifest(options.screened, options.out, everything=options.all, held=options.held, shared=shared)
    if not options.quiet:
        print(f"{result.studies:,} studies, {result.series:,} series, {result.instances:,} instances")
        if result.unidentified:
            print(f"{result.unidentified:,} studies have no UID and stand in images.csv only")
        if result.left_out:
            print(f"{result.left_out:,} studies are left out: the archive was not found to hold them")
        print(f"written to {options.out}")
    return ended("listed", Status.OK, studies=result.studies, series=result.series, instances=result.instances)


def run_store(options: argparse.Namespace) -> int:
    """`eligibility imaging store`"""
    base = archive_address(options.dicomweb)
    states: Counter[str] = Counter()
    with Client(access_of(options)) as client, _without_warnings():
        records: Iterable[FileTransfer] = store_files(options.paths, client, base)
        if options.out is not None:
            records = write_uploads(options.out, records, shared=options.shared_outputs)
        for record in records:
            states[record.state] += 1
            if (record.state != StoreState.STORED or record.detail) and not options.quiet:
                code = f" {record.code}" if record.code else ""
                detail = f": {record.detail}" if record.detail else ""
                print(f"{record.file}: {record.state}{code}{detail}")
    if not options.quiet:
        for state in StoreState:
            if states[state]:
                print(f"{states[state]:>8,}  files {state.value}")
        if not states:
            print("there are no files to upload")
    stored = states[StoreState.STORED] + states[StoreState.STORED_WITH_WARNING]
    status = Status.OK if stored == states.total() else Status.INCOMPLETE
    return ended("uploaded", status, files=_by_name(states))


def ended(what: str, status: Status, **counts: Any) -> Status:
    """Put the end of a command into the log, with counts; returns the status."""
    shown = ", ".join(f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int))
    text = f"{what}{f' {shown}' if shown else ''}; exit status {int(status)}"
    say(text, step="done", log_only=True, status=int(status), **counts)
    return status


def _by_name(states: Mapping[Any, int]) -> dict[str, int]:
    return {str(state): count for state, count in states.items() if count}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep what pydicom finds odd about a file off the terminal: it is said of the file where it matters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield


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
    if not on_terminal(options):
        return None

    def show(count: int) -> None:
        print(f"\r{count:,} {what}", end="", file=plain(sys.stderr), flush=True)

    return show

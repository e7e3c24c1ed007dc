"""The options of every command that reads value sets: files, a manifest of versions, a terminology server."""

from __future__ import annotations

import argparse

from fhir_eligibility.data.terminology.files import TerminologyOptions
from fhir_eligibility.ui.options.argument_types import ADDRESS, PATH
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.server_options import AUTH_HELP


def add_terminology_options(command: argparse.ArgumentParser, allow_missing: bool = True) -> None:
    """Add the options to a command; `allow_missing` says whether there is something to go on with where value sets are missing."""
    group = command.add_argument_group("terminology")
    group.add_argument(
        "--valuesets", nargs="+", default=[], type=PATH, metavar="PATH", help="value sets and code systems"
    )
    group.add_argument(
        "--manifest",
        type=PATH,
        metavar="FILE",
        help="versions of value sets and code systems to use: a Library (asset collection) or Parameters",
    )
    group.add_argument(
        "--terminology-server",
        type=ADDRESS,
        metavar="URL",
        help="FHIR server that expands value sets which the files do not hold",
    )
    group.add_argument(
        "--terminology-cache", type=PATH, metavar="DIR", help="folder that keeps what the server expanded"
    )
    group.add_argument(
        "--refresh-terminology", action="store_true", help="ask the server anew for what the folder keeps"
    )
    group.add_argument(
        "--terminology-auth",
        metavar="SPEC",
        help=AUTH_HELP,
    )
    if allow_missing:
        group.add_argument(
            "--allow-missing-valuesets",
            action="store_true",
            help="go on although value sets are missing; the criteria that need them are unknown",
        )


def terminology_options(options: argparse.Namespace) -> TerminologyOptions:
    """The options as given. Raises FileNotFoundError for a path that does not exist, ValueError for options that contradict each other."""
    check_exist(*options.valuesets, *([options.manifest] if options.manifest else ()))
    found = TerminologyOptions(
        options.manifest,
        options.terminology_server,
        options.terminology_cache,
        options.refresh_terminology,
        options.terminology_auth,
    )
    found.check()
    return found

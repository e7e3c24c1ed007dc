"""The options by which a command reaches archives: addresses, credentials, certificates, timeouts, retries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fhir_eligibility.ui.options.argument_types import ADDRESS, number, whole_number
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.server_options import STATIC_HELP

_AUTH = "--dicomweb-auth "
REPLACED = {
    "--user": _AUTH + "user=NAME,password-file=FILE (or password-env=VARIABLE)",
    "--password-file": _AUTH + "user=NAME,password-file=FILE",
    "--token-file": _AUTH + "bearer-file=FILE",
}
"""Options of earlier versions, and what is written instead."""


def add_archive_options(command: CommandParser, *, endpoints: bool = True) -> None:
    """Add them; `endpoints` where the command reads addresses from the data too."""
    group = command.add_argument_group("the archive")
    if endpoints:
        group.add_argument(
            "--dicomweb",
            type=ADDRESS,
            metavar="URL",
            help="DICOMweb base of the archive to ask where the data names none",
        )
        group.add_argument(
            "--ignore-endpoints", action="store_true", help="ask --dicomweb even where the data names another archive"
        )
    else:
        group.add_argument(
            "--dicomweb", type=ADDRESS, metavar="URL", required=True, help="DICOMweb base of the archive"
        )
    connection_options(group)
    command.replaced |= REPLACED


def add_required_images(command: CommandParser) -> None:
    """The options of a screening whose images have to be held."""
    group = command.add_argument_group("images that have to be held")
    group.add_argument(
        "--require-images", action="store_true", help="let images count only where the archive holds them"
    )
    group.add_argument(
        "--ignore-endpoints", action="store_true", help="ask --dicomweb even where the data names another archive"
    )
    connection_options(group)
    command.replaced |= REPLACED


def needless_options(options: argparse.Namespace) -> None:
    """Refuse options of the connection where no archive is asked, so that nobody believes it was. Raises ValueError."""
    names = (
        "ignore_endpoints dicomweb_auth credentials_for allow_http ca client_cert client_key timeout "
        "retries concurrency"
    ).split()
    given = [f"--{name.replace('_', '-')}" for name in names if name in options.given]
    if given:
        raise ValueError(f"{', '.join(given)}: only with --require-images is an archive asked")


def connection_options(group: Any) -> None:
    """The options of the connection alone."""
    group.add_argument("--dicomweb-auth", metavar="SPEC", help=STATIC_HELP)
    group.add_argument(
        "--credentials-for",
        action="append",
        default=[],
        type=ADDRESS,
        metavar="URL",
        help="send the credentials to this archive too; they go to --dicomweb and to no other that only the data names",
    )
    group.add_argument(
        "--allow-http",
        action="store_true",
        help="send credentials over plain http too (without this, to this machine only)",
    )
    group.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificates of a private authority (PEM), besides the system's"
    )
    group.add_argument("--client-cert", type=Path, metavar="FILE", help="our certificate (PEM)")
    group.add_argument("--client-key", type=Path, metavar="FILE", help="its key, where it is a file of its own")
    group.add_argument(
        "--timeout",
        type=number(0, "a number of seconds above 0", above=True, most=86400),
        default=60.0,
        metavar="SECONDS",
        help="wait for an answer (default: 60)",
    )
    group.add_argument(
        "--retries", type=whole_number(0, 20), default=3, metavar="N", help="tries after the first (default: 3)"
    )
    group.add_argument(
        "--concurrency", type=whole_number(1, 64), default=4, metavar="N", help="requests at once (default: 4)"
    )

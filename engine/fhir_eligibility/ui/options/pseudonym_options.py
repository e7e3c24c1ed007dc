"""The options by which outputs carry codes in the place of patients, and the key that makes the codes."""

from __future__ import annotations

import argparse
from pathlib import Path

from fhir_eligibility.output.pseudonyms import Pseudonyms, make_key, read_key
from fhir_eligibility.ui.options.command_parser import CommandParser


def add_pseudonym_options(command: CommandParser, *, uids: bool = True) -> None:
    """Add them; `uids` where there are DICOM UIDs among the outputs."""
    group = command.add_argument_group("codes in the place of patients")
    group.add_argument(
        "--pseudonyms",
        type=Path,
        metavar="KEYFILE",
        help="write codes in the place of patients, records, accession numbers and UIDs; the key in this file makes them",
    )
    group.add_argument(
        "--new-key", action="store_true", help="make the key where KEYFILE is not there yet (readable by you alone)"
    )
    group.add_argument(
        "--pseudonym-list",
        type=Path,
        metavar="FILE",
        help="write whose each code is into this CSV file, outside of DIR (readable by you alone)",
    )
    if uids:
        group.add_argument(
            "--keep-uids", action="store_true", help="leave DICOM UIDs as they are, so that images can be found"
        )


def pseudonyms_of(options: argparse.Namespace, *, keep_uids: bool = False) -> Pseudonyms | None:
    """What makes codes; None where none are wanted. Raises FileNotFoundError, OSError, and ValueError for options that do not go together."""
    key: Path | None = options.pseudonyms
    if key is None:
        given = [
            f"--{name.replace('_', '-')}"
            for name, value in (
                ("new_key", options.new_key),
                ("pseudonym_list", options.pseudonym_list),
                ("keep_uids", keep_uids),
            )
            if value
        ]
        if given:
            raise ValueError(f"{', '.join(given)}: only with --pseudonyms KEYFILE are there codes")
        return None
    if options.out == "-":
        raise ValueError("--pseudonyms needs an output folder: --out DIR")
    if _is_in(key, Path(options.out)):
        raise ValueError(
            f"{key} is in the output folder, where whoever reads the outputs would find the key; keep it apart"
        )
    if not key.exists():
        if not options.new_key:
            raise FileNotFoundError(f"{key} does not exist; --new-key makes a key there")
        make_key(key)
    return Pseudonyms(read_key(key), keep_uids)


def _is_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents

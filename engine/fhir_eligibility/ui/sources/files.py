"""Patients in files: bundles, NDJSON, exports, and folders of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from fhir_eligibility.runners.screening.screening import version_for
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.sources.base import FILES, OpenedSource


class FilesAndFolders:
    """Files and folders as a source."""

    name = FILES
    help = "bundles, NDJSON, folders of them, .gz or .zst"

    def takes(self, text: str) -> bool:
        """Any text may be a path."""
        return True

    def add_options(self, command: CommandParser) -> None:
        """It has none of its own."""

    @contextmanager
    def opened(self, options: argparse.Namespace) -> Iterator[OpenedSource]:
        """The paths. Raises FileNotFoundError for one that does not exist."""
        check_exist(*options.data)
        yield OpenedSource(version_for(options.data, options.fhir), lambda criteria: options.data)


SOURCE = FilesAndFolders()

"""Patients on a FHIR server, searched for what criteria read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.server_options import add_search_options, add_server_options
from fhir_eligibility.ui.sources.base import OpenedSource

_ADDRESS = re.compile(r"https?://[^/\s]", re.IGNORECASE)
# Loaded where a server is asked.
ACCESS, FETCHING = "fhir_eligibility.ui.options.server_access", "fhir_eligibility.runners.server.fetching"


class FhirServer:
    """A server as a source."""

    name = "a FHIR server"
    help = "a FHIR server (https://...), for small cohorts"

    def takes(self, text: str) -> bool:
        """Whether a text is an address."""
        return _ADDRESS.match(text) is not None

    def add_options(self, command: CommandParser) -> None:
        """Credentials, certificates, and what is for searches alone."""
        group = command.add_argument_group("data on a FHIR server")
        add_server_options(group, "data-")
        add_search_options(group)

    @contextmanager
    def opened(self, options: argparse.Namespace) -> Iterator[OpenedSource]:
        """The server, as long as its patients are read. Raises ValueError, ServerError, OSError."""
        if len(options.data) > 1:
            raise ValueError("--data is one server: patients of several servers are not joined")
        fetching = import_module(FETCHING)
        base, restriction = fetching.base_of(options.data[0])
        with import_module(ACCESS).server_of(base, options, rewrite_next_links=options.rewrite_next_links) as server:
            version = load_model(options.fhir or server.fhir_version() or "r4").version
            yield OpenedSource(version, lambda criteria: [fetching.server_patients(server, criteria, restriction)])


SOURCE = FhirServer()

"""What `eligibility screen` needs where it asks servers: patients of a FHIR server, images in archives. Loaded where such options are given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.archives.address import archive_address
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.server.client import Server
from fhir_eligibility.runners.imaging.confirming import RequiredImages
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.screening import Data
from fhir_eligibility.runners.server.fetching import base_of, server_patients
from fhir_eligibility.ui.options.archive import access_of, places_of
from fhir_eligibility.ui.options.server_access import server_of


def address(text: str) -> str:
    """The address of an archive. Raises ValueError."""
    return archive_address(text)


@contextmanager
def required_images(options: argparse.Namespace) -> Iterator[RequiredImages]:
    """The images that archives must hold. Raises ValueError, OSError."""
    with Client(access_of(options)) as client:
        yield RequiredImages(client, places_of(options))


@contextmanager
def patients_on_server(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Criteria], Sequence[Data]]]]:
    """The FHIR version of the server that is the data, and its patients for some criteria. Raises ValueError, ServerError, OSError."""
    if len(options.data) > 1:
        raise ValueError(
            "--data is either one server, or files and folders: patients of several sources are not joined"
        )
    base, restriction = base_of(options.data[0])
    with server_of(base, options, rewrite_next_links=options.rewrite_next_links) as server:
        version = load_model(options.fhir or server.fhir_version() or "r4").version
        yield version, partial(_patients, server, restriction)


def _patients(server: Server, restriction: tuple[tuple[str, str], ...], criteria: Criteria) -> list[Data]:
    return [server_patients(server, criteria, restriction)]

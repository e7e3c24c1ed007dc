"""What `eligibility screen` needs where it asks archives for images. Loaded where such options are given."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from fhir_eligibility.data.archives.address import archive_address
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.runners.imaging.confirming import RequiredImages
from fhir_eligibility.ui.options.archive import access_of, places_of


def address(text: str) -> str:
    """The address of an archive. Raises ValueError."""
    return archive_address(text)


@contextmanager
def required_images(options: argparse.Namespace) -> Iterator[RequiredImages]:
    """The images that archives must hold. Raises ValueError, OSError."""
    with Client(access_of(options)) as client:
        yield RequiredImages(client, places_of(options))

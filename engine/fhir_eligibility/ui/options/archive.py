"""The archives that options describe: how they are reached, and where images are looked for."""

from __future__ import annotations

import argparse
import os

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.address import archive_address
from fhir_eligibility.data.http.credentials import static_credentials
from fhir_eligibility.runners.imaging.images import Places

OLD_VARIABLE = "DICOMWEB_TOKEN"


def access_of(options: argparse.Namespace) -> Access:
    """The settings that options give. Raises ValueError and OSError in words that say what to do."""
    own = [archive_address(url) for url in options.credentials_for]
    if options.dicomweb:
        own.insert(0, archive_address(options.dicomweb))
    authorization = None
    if options.dicomweb_auth is not None:
        try:
            authorization = static_credentials(options.dicomweb_auth).header()
        except ValueError as error:
            raise ValueError(f"--dicomweb-auth: {error}") from None
    elif os.environ.get(OLD_VARIABLE):
        raise ValueError(
            f"{OLD_VARIABLE} is set, which is no longer read by itself: write --dicomweb-auth bearer-env={OLD_VARIABLE}, or unset it"
        )
    if options.client_key is not None and options.client_cert is None:
        raise ValueError("--client-key needs --client-cert")
    return Access(
        own=tuple(own),
        authorization=authorization,
        ca_file=options.ca,
        client_certificate=options.client_cert,
        client_key=options.client_key,
        connect_timeout=min(10.0, options.timeout),
        read_timeout=options.timeout,
        retries=options.retries,
        concurrency=options.concurrency,
        allow_http=options.allow_http,
    )


def places_of(options: argparse.Namespace) -> Places:
    """Where images are looked for. Raises ValueError."""
    if options.ignore_endpoints and not options.dicomweb:
        raise ValueError("--ignore-endpoints needs --dicomweb: the archive to ask instead")
    base = archive_address(options.dicomweb) if options.dicomweb else None
    return Places(base, options.ignore_endpoints)

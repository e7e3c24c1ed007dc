"""The FHIR server that options describe."""

from __future__ import annotations

import argparse

from fhir_eligibility.data.server.client import Server
from fhir_eligibility.data.server.smart import credentials_of


def server_of(base: str, options: argparse.Namespace, *, rewrite_next_links: bool = False) -> Server:
    """The server at an address, with the credentials of the options. Raises ServerError, ValueError,
    FileNotFoundError.
    """
    credentials = credentials_of(options.server_auth) if options.server_auth else None
    return Server(
        base,
        credentials=credentials,
        ca=options.server_ca,
        allow_http=options.server_allow_http,
        rewrite_next_links=rewrite_next_links,
    )

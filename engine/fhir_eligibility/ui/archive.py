"""The archives that options describe: how they are reached, and where images are looked for."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from fhir_eligibility.data.dicomweb.access import Access
from fhir_eligibility.data.dicomweb.address import archive_address
from fhir_eligibility.runners.images import Places
from fhir_eligibility.ui.archive_options import PASSWORD, TOKEN


def access_of(options: argparse.Namespace) -> Access:
    """The settings that options give. Raises ValueError and OSError in words that say what to do."""
    own = [archive_address(url) for url in options.credentials_for]
    if options.dicomweb:
        own.insert(0, archive_address(options.dicomweb))
    user, password, token = options.user, None, _secret(options.token_file, TOKEN)
    if options.token_file is not None and not token:
        raise ValueError(f"{options.token_file} holds no token")
    if user is not None:
        token = token if options.token_file is not None else None
        if token is not None:
            raise ValueError("give either --user or --token-file")
        password = _secret(options.password_file, PASSWORD)
        if password is None:
            raise ValueError(f"--user needs a password: set {PASSWORD}, or give --password-file")
    elif options.password_file is not None:
        raise ValueError("--password-file needs --user")
    if options.client_key is not None and options.client_cert is None:
        raise ValueError("--client-key needs --client-cert")
    return Access(
        own=tuple(own),
        user=user,
        password=password,
        token=token,
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


def _secret(file: Path | None, variable: str) -> str | None:
    if file is not None:
        return file.read_text("utf-8").strip("\r\n")
    return os.environ.get(variable) or None

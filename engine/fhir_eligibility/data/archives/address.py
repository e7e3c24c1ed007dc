"""The address of an archive as a person gives it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

# where an address goes on to a study, a series or an instance, to all of them, or to a place for one (`{study}`)
_BELOW = re.compile(r"/(?:studies|series|instances)(?:/(?:[0-9.]+|\{[^/]*\})(?:/.*)?)?/*$")


def without_studies(path: str) -> str:
    """The path of an archive's base, without what leads on to studies (PS3.18 section 8.2), and without a slash at its end."""
    return _BELOW.sub("", path.rstrip("/")).rstrip("/")


def archive_address(text: str) -> str:
    """A DICOMweb base that a person gave, without a slash or `/studies` at its end. Raises ValueError where it is none, or holds a secret."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"no address of an archive: {error}") from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ValueError("the address of the archive holds credentials; say with --dicomweb-auth where they are")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"{text!r} is not an address of an archive; write https://host/dicom-web")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r}: the address of an archive has no query; /studies and the like are put behind it")
    return urlunsplit((parts.scheme, parts.netloc, without_studies(parts.path), "", ""))

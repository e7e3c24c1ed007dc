"""Codes in the place of what tells who a patient is, made with a key: the same key gives the same codes in every run, and without it nobody can tell whose they are.

A code is the beginning of HMAC-SHA-256 (RFC 2104). Who holds the key can find out whose a code is by trying; keep it as patients' data.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import shutil
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.output.atomic import AtomicFile
from fhir_eligibility.output.summary import row_of

LIST_HEADER = row_of(["pseudonym", "patient", "identifiers"])
DIGITS = 26
"""Of a code, in base 32: 130 bits."""
KEY_BYTES = 32
_KEY = re.compile(r"[0-9A-Fa-f]{64,1024}")


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Makes codes with a key. With `keep_uids`, DICOM UIDs and the addresses that hold them stay, so that images can be found."""

    key: bytes = field(repr=False)
    keep_uids: bool = False

    @property
    def description(self) -> str:
        """How codes are made, in words."""
        return f"key {self.name_of_key}, UIDs {'kept' if self.keep_uids else 'coded'}"

    @property
    def name_of_key(self) -> str:
        """What tells keys apart, and nothing of the key."""
        return self.code("key", "")[:8]

    def code(self, kind: str, text: str) -> str:
        """The code of a text, which is another for each kind of thing: letters a to z and digits 2 to 7."""
        digest = hmac.digest(self.key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")
        return base64.b32encode(digest).decode("ascii").lower()[:DIGITS]

    def patient(self, reference: str) -> str:
        """A patient, by their reference, as `Patient/CODE`."""
        return f"Patient/{self.code('name', reference)}"

    def resource(self, name: str) -> str:
        """A resource, by `Type/id`, as `Type/CODE`."""
        kind = name.partition("/")[0]
        return f"{kind if kind in all_resource_types() else 'Resource'}/{self.code('name', name)}"

    def file(self, path: str) -> str:
        """A file, by its path."""
        return f"file-{self.code('file', path)}"

    def uid(self, uid: str) -> str:
        """A DICOM UID, as one under the root of UUIDs, 2.25 (PS3.5 B.2), as de-identification replaces them (PS3.15 annex E)."""
        if self.keep_uids:
            return uid
        digest = hmac.digest(self.key, f"uid\0{uid}".encode("utf-8", "surrogatepass"), "sha256")
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def write_list(rows: Path, to: Path) -> None:
    """Let the list that tells whose each code is appear: a CSV file that its owner alone may read. Raises OSError."""
    with AtomicFile(to, "wb", private=True) as file, rows.open("rb") as stream:
        target: Any = file.stream
        shutil.copyfileobj(stream, target)


def check_list(path: Path, out: Path) -> None:
    """Raises ValueError where a list of codes would be found by who reads the outputs, or would be written over a file that is none."""
    if out.resolve() in path.resolve().parents:
        raise ValueError(
            f"{path} is in the output folder, where whoever reads the outputs would find whose each code is; name a place apart"
        )
    if path.exists() and path.read_bytes()[: len(LIST_HEADER)] != LIST_HEADER.encode():
        raise ValueError(f"{path} is there already, and is not a list of pseudonyms; name another file")


def make_key(path: Path) -> None:
    """Write a new key, which its owner alone may read. Raises FileExistsError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(KEY_BYTES) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_key(path: Path) -> bytes:
    """The key in a file. Raises FileNotFoundError, OSError, and ValueError where it is none, or others may read it."""
    status = path.stat()
    if sys.platform != "win32" and stat.S_IMODE(status.st_mode) & 0o077:
        raise ValueError(
            f"{path}: others may read this key, which tells who patients are; make it yours: chmod 600 {path}"
        )
    text = path.read_bytes()[:4096].decode("ascii", "replace").strip()
    if _KEY.fullmatch(text) is None or len(text) % 2:
        raise ValueError(f"{path} holds no key: expected 64 hexadecimal digits or more, as --new-key writes them")
    return bytes.fromhex(text)

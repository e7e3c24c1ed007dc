"""Digests of blocks of the data, by which a later run knows that their bytes are the same.

They are GMAC (NIST SP 800-38D) under a secret of random bytes, which takes a ninth of the time of SHA-256 where the processor has instructions for it. Two blocks that
differ have the same digest with a chance of less than 2^-100, whatever they are, as long as who makes the data does not know the secret. It stands in `blocks.bin`, and in the
workspace of a run under way, which are as secret as the data; later runs go on with it.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

import stringzilla as sz

from fhir_eligibility.data.bulk.fingerprints import Fingerprints

SALT = 32
PLAIN = bytes(SALT)
"""In the place of a secret: digests are SHA-256."""
_NONCE = bytes(12)
# Without such instructions SHA-256, which processors have others for, is as fast.
_FAST = hasattr(sz, "Aes256GcmKey") and not {"westmere", "haswell", "skylake", "icelake"}.isdisjoint(
    getattr(sz, "__capabilities__", ())
)


def new_salt() -> bytes:
    """The secret of a run that goes by no other."""
    return os.urandom(SALT) if _FAST else PLAIN


def is_known(salt: bytes) -> bool:
    """Whether digests under a secret can be made here."""
    return salt == PLAIN or hasattr(sz, "Aes256GcmKey")


class BlockDigests:
    """Makes digests of blocks under a secret, and under the key of the codes where codes stand in the place of patients."""

    def __init__(self, fingerprints: Fingerprints, salt: bytes) -> None:
        self._fingerprints = fingerprints
        self._key: Any = None
        if salt != PLAIN:
            self._key = sz.Aes256GcmKey(sha256(b"blocks" + sha256(fingerprints.key).digest() + salt).digest())

    def of(self, text: bytes | memoryview) -> bytes:
        """The digest of a block."""
        if self._key is None:
            return self._fingerprints.of_text(text)
        # all of it is only authenticated, so that one nonce will do: digests are compared with each other, and shown to nobody
        tag: bytes = self._key.encrypt(b"", _NONCE, text)[1]
        return tag

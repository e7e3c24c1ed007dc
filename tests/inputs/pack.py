"""`python -m tests.inputs.pack FOLDER`: write the archives from a folder with the inputs, the same bytes for the same content.

FOLDER has `conformance/cql` (the folder tests/cql of cqframework/cql-tests), `conformance/fhirpath` (the test files of FHIR/fhir-test-cases, and their
inputs as JSON under `inputs`), `bugs` and `faults`. Licences and sources are in the file NOTICE.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.inputs import HERE

ARCHIVES = {
    "cql-tests.zip": ("conformance/cql/*.xml",),
    "fhirpath-tests.zip": ("conformance/fhirpath/*.xml", "conformance/fhirpath/inputs/**/*.json"),
    "reported-cases.zip": ("bugs/reported-cases.json",),
    "data-faults.zip": ("faults/data/crit/**/*", "faults/data/odd/*/**/*", "faults/data/t/**/*"),
}
# The oldest moment that an archive can state: the bytes shall not depend on when it was written.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def files(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """The files that patterns name, in order. Raises ValueError where one names none."""
    for pattern in patterns:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if not found:
            raise ValueError(f"{root}: there is no {pattern}")
        yield from found


def pack(root: Path, patterns: tuple[str, ...], target: Path) -> None:
    """Write one archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files(root, patterns):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=9)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    for name, patterns in ARCHIVES.items():
        pack(Path(arguments[0]), patterns, HERE / name)
        print(f"{name}: {(HERE / name).stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

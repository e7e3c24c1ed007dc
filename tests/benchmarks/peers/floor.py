"""`python floor.py FORM FOLDER [TYPE...]`: the floor, `orjson.loads` over every file or line, and nothing kept; of an export only some types if named."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> int:
    """Parse everything; prints documents and bytes."""
    loads = importlib.import_module("orjson").loads
    form, folder, *types = sys.argv[1:]
    documents = size = 0
    if form == "bundles":
        for path in sorted(Path(folder).rglob("*.json")):
            raw = path.read_bytes()
            loads(raw)
            documents += 1
            size += len(raw)
    else:
        for path in sorted(Path(folder).glob("*.ndjson")):
            if types and path.name.partition(".")[0] not in types:
                continue
            with path.open("rb") as stream:
                for line in stream:
                    loads(line)
                    documents += 1
                    size += len(line)
    print(documents, size)
    return 0


if __name__ == "__main__":
    sys.exit(main())

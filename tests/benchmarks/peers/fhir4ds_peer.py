"""`python fhir4ds_peer.py FORM FOLDER OUT LIBRARY`: the CQL library in fhir4ds-v2, which makes SQL of it for DuckDB.

Its own loader fills its table, one thread does the rest. Of an export it gets the types that the criteria read. `return all` makes it lose
conditions, so it gets the library without.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from pathlib import Path

NEEDED = ("Patient", "Procedure", "Observation", "ImagingStudy")
DEFINES = {"biopsy": "Has a Biopsy", "images": "MR Images Within the Year Before a Biopsy", "psa": "Elevated PSA"}


def main() -> int:
    """Load, evaluate, and write a line a patient."""
    begun = time.perf_counter()
    fhir4ds = importlib.import_module("fhir4ds")
    connection = fhir4ds.create_connection()
    connection.execute("SET threads = 1")
    loader = fhir4ds.FHIRDataLoader(connection)
    print(json.dumps({"setup": time.perf_counter() - begun, "setup_cpu": time.process_time()}))
    form, folder, out, library = sys.argv[1:]
    if form == "bundles":
        loader.load_directory(folder)
    else:
        for kind in NEEDED:
            for path in sorted(Path(folder).glob(f"{kind}*.ndjson")):
                loader.load_ndjson(path)
    plain = Path(f"{out}.cql")
    plain.write_text(re.sub(r"\s+return all \w+", "", Path(library).read_text("utf-8")), encoding="utf-8")
    table = fhir4ds.evaluate_measure(str(plain), connection, output_columns=DEFINES)
    with Path(out).open("w", encoding="utf-8") as stream:
        for row in table.itertuples(index=False):
            answer = {key: None if getattr(row, key) is None else bool(getattr(row, key)) for key in DEFINES}
            stream.write(json.dumps({"patient": row.patient_id, **answer}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

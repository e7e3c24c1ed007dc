"""`python fhirpathpy_peer.py FORM FOLDER OUT`: the criteria as FHIRPath in fhirpathpy.

Two things that it has not are written out for it: `defineVariable` (the images are asked for each biopsy's date in turn) and comparing a FHIR
Quantity (the units that occur are compared one by one).
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
BIOPSIES = (
    "Bundle.entry.resource.ofType(Procedure)"
    f".where(status = 'completed' and code.coding.exists(system = '{SCT}' and code = '86273004'))"
)
DATES = f"{BIOPSIES}.select((performed.ofType(dateTime) | performed.ofType(Period).start).first())"
IMAGES = (
    "Bundle.entry.resource.ofType(ImagingStudy).where(status = 'available' and "
    f"(series.modality | modality).exists(system = '{DCM}' and code = 'MR'))"
    ".exists(started <= %biopsy and started >= %biopsy - 1 year)"
)
PSA = (
    "Bundle.entry.resource.ofType(Observation)"
    f".where(code.coding.exists(system = '{LOINC}' and code = '2857-1') and status in ('final' | 'amended' | 'corrected'))"
    ".value.ofType(Quantity).exists((code in ('ng/mL' | 'ug/L') and value >= 3) or (code = 'pg/mL' and value >= 3000))"
)


def main() -> int:
    """Evaluate and write a line a patient."""
    begun = time.perf_counter()
    sys.path.insert(0, str(Path(__file__).parent))
    records = importlib.import_module("records")
    fhirpathpy = importlib.import_module("fhirpathpy")
    model = importlib.import_module("fhirpathpy.models").models["r4"]
    biopsy, dates, images, psa = (
        fhirpathpy.compile(text, model) for text in (f"{BIOPSIES}.exists()", DATES, IMAGES, PSA)
    )
    print(json.dumps({"setup": time.perf_counter() - begun, "setup_cpu": time.process_time()}))
    form, folder, out = sys.argv[1:]

    def within(bundle: Any) -> bool | None:
        found = [_first(images(bundle, {"biopsy": date})) for date in dates(bundle)]
        return True if True in found else None if None in found else False

    with Path(out).open("w", encoding="utf-8") as stream:
        for name, bundle in records.bundles(form, Path(folder)):
            answer: dict[str, Any] = {"patient": name}
            for key, ask in (
                ("biopsy", lambda b: _first(biopsy(b))),
                ("images", within),
                ("psa", lambda b: _first(psa(b))),
            ):
                _answer(answer, key, ask, bundle)
            stream.write(json.dumps(answer) + "\n")
    return 0


def _answer(answer: dict[str, Any], key: str, ask: Callable[[Any], bool | None], bundle: Any) -> None:
    try:
        answer[key] = ask(bundle)
    except Exception as error:  # what it throws has no common class
        answer[key] = None
        answer["error"] = f"{key}: {error}"[:200]


def _first(found: list[Any]) -> bool | None:
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main())

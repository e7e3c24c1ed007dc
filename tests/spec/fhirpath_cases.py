"""Reads the XML of the official FHIRPath suites into cases, and the JSON twins of their inputs.

What the files leave to the reader, and how it is read here:

- An `invalid` attribute wins over outputs that stand beside it. Without either, the result must be empty.
- `mode` may stand on the test or on the expression. `strict`, and every case that checks for ordered functions, compiles with
  `strict=True`; `lenient/polymorphics` with `lenient=True`; the other modes (element, html, tx, cda) as usual.
- `ordered="false"` on a test means that the outputs are a bag.
- Test names are not unique in the R4 file; a second test of a name is called `name#2`.
- Tests name XML inputs; the folder holds the same resources as JSON.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec

from tests.spec.model import Invalid

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_INVALID = ("syntax", "semantic", "execution")


@dataclass(frozen=True, slots=True)
class Output:
    """One expected item: its type, where the file says one, and its literal text."""

    type: str | None
    text: str


@dataclass(frozen=True, slots=True)
class FhirPathCase:
    """One test of a FHIRPath suite."""

    name: str
    group: str
    expression: str
    input: str | None
    outputs: tuple[Output, ...]
    invalid: Invalid | None
    ordered: bool
    predicate: bool
    strict: bool
    lenient: bool


def read_cases(path: Path) -> list[FhirPathCase]:
    """All cases of a suite file, in its order. Raises ValueError where the file has something that we do not know."""
    root = ElementTree.parse(path).getroot()
    seen: Counter[str] = Counter()
    cases = []
    for group in _children(root, "group"):
        for test in _children(group, "test"):
            case = _read_case(test, group.get("name", ""))
            seen[case.name] += 1
            if seen[case.name] > 1:
                case = replace(case, name=f"{case.name}#{seen[case.name]}")
            cases.append(case)
    return cases


def _read_case(test: ElementTree.Element, group: str) -> FhirPathCase:
    name = test.get("name", "")
    (expression,) = _children(test, "expression")
    invalid = expression.get("invalid")
    if invalid is not None and invalid not in _INVALID:
        raise ValueError(f"{name}: unknown kind of invalid: {invalid!r}")
    modes = {test.get("mode"), expression.get("mode")}
    ordered_functions = test.get("ordered") == "true" or test.get("checkOrderedFunctions") == "true"
    return FhirPathCase(
        name=name,
        group=group,
        expression=expression.text or "",
        input=test.get("inputfile"),
        outputs=tuple(Output(output.get("type"), output.text or "") for output in _children(test, "output")),
        invalid=cast("Invalid | None", invalid),
        ordered=test.get("ordered") != "false",
        predicate=test.get("predicate") == "true",
        strict="strict" in modes or ordered_functions,
        lenient="lenient/polymorphics" in modes,
    )


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Child elements by local name: the R5 file has a namespace, the R4 file has none."""
    return [child for child in element if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == name]


@cache
def read_input(folder: Path, name: str) -> dict[str, Any] | None:
    """The JSON twin of an input that a test names, decoded with exact decimals; None where there is none."""
    path = folder / f"{Path(name).stem}.json"
    if not path.is_file():
        return None
    return cast("dict[str, Any]", _DECODER.decode(path.read_bytes()))

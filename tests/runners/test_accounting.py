"""Everything that is read is used, not needed, or a problem, on every way; counted again here by another reader of the same files."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.data.every_way import NOW, criteria
from tests.data.test_damaged_text import DAMAGE, value_of

CODE = "Condition.where(code.coding.exists(code = 'x')).exists() and Observation.exists().not()"
CONTAINERS = ("Bundle", "Parameters")


def resource(kind: str, name: str, about: Any = None, **more: Any) -> dict[str, Any]:
    subject = {} if about is None else {"subject": {"reference": about}}
    return {"resourceType": kind, "id": name, **subject, **more}


def write(folder: Path, seed: int) -> Path:
    """Files of every form, some of what is in them damaged."""
    chance = random.Random(seed)
    folder.mkdir()
    lines: list[bytes] = []
    for number in range(40):
        code = {"coding": [{"code": chance.choice("xy")}]}
        about = chance.choice([f"Patient/p{number}"] * 6 + ["Patient?identifier=nobody", "Location/l", None])
        several = [
            resource("Patient", f"p{number}"),
            resource("Condition", f"c{number}", about, code=code),
            resource("Claim", f"k{number}"),
        ]
        lines += [json.dumps(one).encode() for one in several]
    lines.append(
        json.dumps({"resourceType": "Parameters", "parameter": [{"name": "x", "resource": several[1]}]}).encode()
    )
    lines.append(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": several[0]}]}).encode()
    )
    lines += [b"", b" ", b'{"resourceType":"Condition","id":"cut","subj', b'{"resourceType":"Conditio","id":"odd"}']
    kinds = [kind for kind in DAMAGE if kind not in ("line within", "more behind", "UTF-16", "begins late")]
    for place in chance.sample(range(100), 12):
        lines[place] = DAMAGE[chance.choice(kinds)](lines[place], chance)
    (folder / "all.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    entries = [
        {"resource": resource("Patient", "b1")},
        {"resource": resource("Observation", "o1", "Patient/b1")},
        {"request": {"method": "DELETE", "url": "Observation/o2"}},
        {"response": {"status": "200"}},
        {"resource": {"id": "no type"}},
        {},
        "no entry",
    ]
    (folder / "bundle.json").write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    (folder / "cut.json").write_text('{"resourceType":"Bundle","type":"collection","entry":[{"resource":{')
    (folder / "one.json").write_text(json.dumps(resource("Patient", "single")))
    (folder / "list.json").write_text(json.dumps([resource("Patient", "l1"), resource("Organization", "l2")]))
    return folder


def units(value: Any) -> Iterator[str]:
    """What each unit of something decoded is: the type of a resource, `problem`, `deletion` or `empty`."""
    kind = value.get("resourceType") if isinstance(value, dict) else None
    if isinstance(value, list):
        for item in value:
            yield from units(item)
    elif kind == "Bundle" and isinstance(value.get("entry"), list):
        for entry in value["entry"]:
            if not isinstance(entry, dict):
                yield "problem"
            elif entry.get("request", {}).get("method") == "DELETE":
                yield "deletion"
            elif "resource" in entry:
                yield from units(entry["resource"])
            else:
                yield "empty"
    elif kind == "Parameters":
        for one in value["parameter"]:
            yield from units(one["resource"]) if "resource" in one else ()
    else:
        yield kind if kind in all_resource_types() else "problem"


def expected(folder: Path) -> Counter[str]:
    found = Counter[str]()
    for path in folder.iterdir():
        text = path.read_bytes()
        for line in text.split(b"\n")[:-1] if path.suffix == ".ndjson" else [text]:
            if line.strip():
                value = value_of(line)
                found.update(["problem"] if value is None else units(value))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_everything_is_accounted_for_on_every_way(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "data", seed)
    wanted = expected(data)
    assert wanted["problem"] > 8 and wanted["deletion"] == 1 and wanted["empty"] == 2
    rules = criteria(tmp_path / "criteria", CODE)
    accounts = []
    for name, small, jobs in (("small", running.SMALL, 1), ("large", 0, 1), ("two", 0, 2)):
        monkeypatch.setattr(running, "SMALL", small)
        record = run(rules, [], [data], tmp_path / name, RunOptions(now=NOW, jobs=jobs)).record
        found = record.resources
        assert found.files == 5 and found.blank == 2
        assert found.deletions == wanted["deletion"] and found.empty == wanted["empty"]
        kinds = {*found.used, *found.passed, *found.problems} - {"*"}
        for kind in kinds | {one for one in wanted if one[:1].isupper()}:
            read = found.used.get(kind, 0) + found.passed.get(kind, 0)
            # a damaged record is among the problems of its type, as far as its text tells
            assert read <= wanted[kind] <= read + found.problems.get(kind, 0), (name, kind)
        total = sum(sum(one.values()) for one in (found.used, found.passed, found.problems))
        assert total + found.deletions + found.empty == wanted.total(), name
        accounts.append(found)
    assert accounts[0] == accounts[1] == accounts[2]


def test_patients_at_hand_are_counted(tmp_path: Path) -> None:
    listed = [resource("Patient", "p"), resource("Condition", "c", "Patient/p"), resource("Organization", "o")]
    found = list(compartments_of(listed))
    record = run(criteria(tmp_path / "c", CODE), [], found, tmp_path / "out", RunOptions(now=NOW)).record
    assert record.resources.used == {"Patient": 1, "Condition": 1, "Organization": 1}
    assert (
        fhir_eligibility.Verdict.model_validate_json((tmp_path / "out" / "verdicts.ndjson").read_text()).verdict
        == "excluded"
    )

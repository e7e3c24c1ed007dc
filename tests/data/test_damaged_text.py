"""Damaged text is never taken for text that is not needed: every line that is not whole is a problem on every way, and changes nobody else's verdict."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.files.json_text import lines_are_whole
from fhir_eligibility.data.records.remains import named_in
from tests.data.every_way import criteria, screened

LOST = {"invalid-json", "not-a-resource", "unknown-resource-type"}
PATIENTS = 60
EXPRESSIONS = (
    "Procedure.where(code.coding.exists(system = 'http://snomed.info/sct' and code = '86273004')).exists().not()",
    "Condition.where(code.coding.exists(code = '399068003')).exists()",
    "Observation.where(code.coding.exists(code = '2857-1')).value.ofType(Quantity).value > 3",
    "Patient.name.family.exists()",
)
Line = tuple[bytes, int]
"""A line, and the number of the patient it is about."""


def resources(number: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """The resources of one patient; the codes that criteria ask for stand in some of them."""
    about = {"reference": f"Patient/p{number}"}
    yield {
        "resourceType": "Patient",
        "id": f"p{number}",
        "name": [{"family": f"Mü{number}"}],
        "birthDate": "1950-01-01",
    }
    for index in range(3):
        code = chance.choice(("86273004", "80146002"))
        coding = [{"system": "http://snomed.info/sct", "code": code, "display": 'Biopsy {of "it"}'}]
        yield {"resourceType": "Procedure", "id": f"pr{number}-{index}", "status": "completed", "subject": about, "code": {"coding": coding}}  # fmt: skip
    code = chance.choice(("399068003", "44054006"))
    yield {"resourceType": "Condition", "id": f"c{number}", "subject": about, "code": {"coding": [{"code": code}]}}
    value = {"value": chance.randrange(1, 9) + 0.5, "unit": "ng/mL"}
    yield {"resourceType": "Observation", "id": f"o{number}", "status": "final", "subject": about, "code": {"coding": [{"code": chance.choice(("2857-1", "718-7"))}]}, "valueQuantity": value}  # fmt: skip
    yield {"resourceType": "Claim", "id": f"cl{number}", "patient": about, "total": {"value": 12.5}}


def export() -> dict[str, list[Line]]:
    """An export by type."""
    chance = random.Random(7)
    files: dict[str, list[Line]] = {}
    for number in range(PATIENTS):
        for resource in resources(number, chance):
            text = json.dumps(resource, separators=(",", ":"), ensure_ascii=False).encode()
            files.setdefault(f"{resource['resourceType']}.ndjson", []).append((text, number))
    return files


def flip(line: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(line))
    return line[:at] + bytes([line[at] ^ 1 << chance.randrange(8)]) + line[at + 1 :]


def without(text: bytes) -> Callable[[bytes, random.Random], bytes]:
    def lose(line: bytes, chance: random.Random) -> bytes:
        places = [at for at in range(len(line)) if line.startswith(text, at)]
        at = chance.choice(places)
        return line[:at] + line[at + len(text) :]

    return lose


def over(text: bytes) -> Callable[[bytes, random.Random], bytes]:
    def write(line: bytes, chance: random.Random) -> bytes:
        at = chance.randrange(len(line) - len(text))
        return line[:at] + text + line[at + len(text) :]

    return write


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda line, chance: line[: chance.randrange(1, len(line))],
    "cut at a code": lambda line, chance: line[: line.rindex(b'"code":') + 9] if b'"code":' in line else line[:30],
    "begins late": lambda line, chance: line[chance.randrange(1, len(line)) :],
    "hole": lambda line, chance: line[: chance.randrange(5, 40)] + line[-chance.randrange(5, 40) :],
    "flipped bit": flip,
    "several bits": lambda line, chance: flip(flip(flip(line, chance), chance), chance),
    "NUL": over(b"\0"),
    "NULs": over(b"\0" * 20),
    "Latin-1": over("ü".encode("latin-1")),
    "control character": over(b"\x1b"),
    "tabulator": over(b"\t"),
    "lost colon": without(b":"),
    "lost quote": without(b'"'),
    "lost comma": without(b","),
    "lost brace": without(b"}"),
    "lost opening brace": without(b"{"),
    "line within": lambda line, chance: (lambda at: line[:at] + b"\n" + line[at:])(chance.randrange(1, len(line))),
    "more behind": lambda line, chance: line + chance.choice((b"}", b",", b"]", b" x", b"{}")),
    "wrong case": lambda line, chance: line.replace(b'"resourceType":"', b'"resourceType":"x', 1).replace(b'"xC', b'"c'),
    "misspelt type": lambda line, chance: flip(line[17:28], chance).join((line[:17], line[28:])),
    "misspelt element": lambda line, chance: line.replace(b'"resourceType"', b'"resourcetype"', 1),
    "another text": lambda line, chance: b"502 Bad Gateway",
    "UTF-16": lambda line, chance: line.decode().encode("utf-16-le"),
    "bad escape": over(b"\\x"),
}  # fmt: skip


def value_of(line: bytes) -> Any:
    """The value of a line by another reader of JSON; None where it is none."""

    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        found = json.loads(line.decode("utf-8"), parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except ValueError:
        return None
    return found


def is_whole(line: bytes) -> bool:
    """Whether a line is a resource of a type of FHIR; a comma behind it is read over."""
    found = value_of(line.removesuffix(b","))
    return isinstance(found, dict) and found.get("resourceType") in all_resource_types()


def about(resource: dict[str, Any]) -> str:
    """The patient that a resource says it is about."""
    if resource["resourceType"] == "Patient":
        return f"Patient/{resource.get('id')}"
    return next((x["reference"] for x in resource.values() if isinstance(x, dict) and "reference" in x), "")


def write(files: dict[str, list[Line]], folder: Path) -> Path:
    folder.mkdir()
    for name, lines in files.items():
        (folder / name).write_bytes(b"".join(line + b"\n" for line, _ in lines))
    return folder


@pytest.mark.parametrize("mixed", [False, True], ids=["a type a file", "one file"])
@pytest.mark.parametrize("seed", range(4))
def test_every_line_that_is_not_whole_is_a_problem_on_every_way(tmp_path: Path, seed: int, mixed: bool) -> None:
    chance = random.Random(seed)
    rules, files = criteria(tmp_path / "criteria", *EXPRESSIONS), export()
    if mixed:
        everything = [line for lines in files.values() for line in lines]
        chance.shuffle(everything)
        files = {"all.ndjson": everything}
    expected = next(screened(rules, write(files, tmp_path / "whole"), tmp_path))[1]
    assert {row[0] for row in expected.values()} >= {"included", "excluded", "undetermined"}
    touched: set[int] = set()
    altered: set[str] = set()
    for lines in files.values():
        # whole blocks of lines are looked at together: some are left as they were
        kinds = list(DAMAGE) * 3
        for place in chance.sample(range(len(lines)), min(len(kinds), len(lines) // 5)):
            line, number = lines[place]
            if b"\n" not in line:
                lines[place] = DAMAGE[kinds.pop(chance.randrange(len(kinds)))](line, chance), number
                touched.add(number)
                changed = value_of(lines[place][0].removesuffix(b","))
                if is_whole(lines[place][0]) and changed != value_of(line):
                    # as far as anybody can tell, this is what was written
                    altered |= {f"Patient/p{number}", about(changed)}
    data = write(files, tmp_path / "damaged")
    lost = {
        (str(path), number)
        for path in sorted(data.iterdir())
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1)
        if line.strip() and not is_whole(line.strip())
    }
    assert len(lost) > 40
    for way, found, problems in screened(rules, data, tmp_path):
        assert {(p.file, p.line) for p in problems if p.code in LOST} == lost, way
        for name in set(expected) - altered:
            assert all_or_unknown(found.get(name, ()), expected[name]), (way, name, found.get(name), expected[name])
    # of the damaged records whose patients cannot be told all are tolerated: nobody else's answers change
    for way, found, _ in screened(rules, data, tmp_path / "tolerant", tolerate=10**6):
        for number in set(range(PATIENTS)) - touched:
            name = f"Patient/p{number}"
            assert found[name] == expected[name], way


def all_or_unknown(found: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """Whether all answers are the right ones, but for those that are not given."""
    return all(one in (other, "unknown", "undetermined") for one, other in zip(found, expected, strict=False))


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_bundle_is_a_problem_of_its_own_file_on_every_way(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    rules = criteria(tmp_path / "criteria", *EXPRESSIONS)
    bundles: dict[str, bytes] = {}
    for number in range(120):
        entries = [
            {"fullUrl": f"http://s.example/{one['resourceType']}/{one['id']}", "resource": one}
            for one in resources(number, random.Random(number))
        ]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        bundles[f"{number}.json"] = json.dumps(bundle, separators=(",", ":"), ensure_ascii=False).encode()
    data = tmp_path / "data"
    data.mkdir()
    for name, text in bundles.items():
        (data / name).write_bytes(text)
    expected = next(screened(rules, data, tmp_path))[1]
    kinds = [kind for kind in DAMAGE if kind not in ("line within", "tabulator")]
    damaged = chance.sample(range(120), 80)
    for number in damaged:
        text = bundles[f"{number}.json"]
        kind = chance.choice([*kinds, *["flipped bit"] * 20])
        (data / f"{number}.json").write_bytes(DAMAGE[kind](text, chance))
    lost = {str(path) for path in data.iterdir() if value_of(path.read_bytes().removesuffix(b",")) is None}
    odd = {
        str(path)
        for path in data.iterdir()
        if (found := value_of(path.read_bytes().removesuffix(b","))) is not None and not is_usual(found)
    }
    assert len(lost) > 15
    for way, found, problems in screened(rules, data, tmp_path):
        assert {p.file for p in problems if p.code == "invalid-json"} <= lost, way
        assert lost <= {p.file for p in problems if p.code in ("invalid-json", "not-a-resource")}, way
        assert odd <= {p.file for p in problems}, way
        for number in set(range(120)) - set(damaged):
            name = f"Patient/p{number}"
            assert all_or_unknown(found[name], expected[name]), (way, name)


def is_usual(value: Any) -> bool:
    """Whether a value is a bundle with known members, entries among them, whose resources have known types."""
    return (
        isinstance(value, dict)
        and value.get("resourceType") == "Bundle"
        and value.keys() == {"resourceType", "type", "entry"}
        and all(
            one.keys() == {"fullUrl", "resource"} and one["resource"].get("resourceType") in all_resource_types()
            for one in value["entry"]
        )
    )


BEGINNING = b'{"resourceType":"Claim","id":"a"'
PARTS = st.lists(
    st.sampled_from((b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a":', b'"x"', b"1", b"\n", b"\r\n", b" ", b"}\n{", BEGINNING)),
    max_size=8,
)  # fmt: skip


@settings(max_examples=3000, deadline=None)
@given(st.lists(PARTS.map(lambda parts: BEGINNING + b"".join(parts) + b"}"), min_size=1, max_size=4))
def test_lines_that_are_proved_whole_are_whole(lines: list[bytes]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    number = text.count(b"\n")
    if text.count(b"\n{") == number - 1:
        each = [line.removesuffix(b"\r") for line in text.split(b"\n")[:-1]]
        proved, are = lines_are_whole(text, number), all(isinstance(value_of(line), dict) for line in each)
        # lines that end otherwise are looked at one by one
        assert proved == are if all(line.endswith(b"}") for line in each) else not proved or are


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"resourceType":"Procedure","id":"a","subject":{"reference":"Patient/p"},"code":{"coding":[{"co', {"type": "Procedure", "resource": "Procedure/a", "patient": "Patient/p"}),
        (b'{"resourceType":"Claim","id":"a","patient":{"reference":"urn:uuid:1"', {"type": "Claim", "resource": "Claim/a"}),
        (b'{"resourceType":"Patient","id":"p","name":[', {"type": "Patient", "resource": "Patient/p", "patient": "Patient/p"}),
        (b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{"resource":{"resourceType":"Cond', {"patient": "Patient/p", "element": "Bundle"}),
            (b'{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{"resource":{"resourceType":"Cond', {"patient": "Patient/p", "element": "Bundle.entry"}),
            (b'[{"resourceType":"Patient","id":"p"},{"resourceType":"Cond', {}),
        (b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{"resource":{"resourceType":"Cond', {}),
        (b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{"resource":{"resourceType":"Cond', {}),
        (b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{"resource":{"resourceType":"Patient","id":"q"', {}),
        (b'{"resourceType":"Proc', {}),
        (b"<html>", {}),
    ],
)  # fmt: skip
def test_what_a_damaged_text_still_tells(text: bytes, expected: dict[str, str]) -> None:
    assert named_in(text) == expected

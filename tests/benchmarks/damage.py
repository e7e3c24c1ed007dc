"""`python -m tests.benchmarks.damage --lines 10000`: an export with so many damaged lines, of every kind of damage, screened by every way of reading.

The undamaged export is screened first. Then, on every way - in memory, by plan in one process and in two with little memory - it must hold that

- every line is accounted for: used, not needed and problems add up to what another reader of JSON finds in the files;
- a line that is no resource any more is a problem that names its file and line;
- no verdict of a patient changes without a problem that names a damaged line or record of that patient;
- what changes becomes undetermined, unless what stands in the data now is whole, and says otherwise;
- all ways give the same verdicts and the same problems.

It is done without tolerance, where absence is unknown wherever a record's patient cannot be told, and with all damaged records tolerated.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.output.criteria_record import read_verdicts
from fhir_eligibility.output.run_record import Resources
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.benchmarks.cohorts import Options, write
from tests.benchmarks.runners import CRITERIA, NOW

Damage = Callable[[bytes, random.Random], bytes]
"""What becomes of a line, without the line feed at its end; there may be several lines in it."""
HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n<body>\n<h1>502 Bad Gateway</h1>\n</body></html>"
OUTCOME = (
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception","diagnostics":"disk full"}]}'
)


# -- damage to bytes


def flipped(line: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(line))
    return line[:at] + bytes([line[at] ^ 1 << chance.randrange(8)]) + line[at + 1 :]


def without(text: bytes) -> Damage:
    def lose(line: bytes, chance: random.Random) -> bytes:
        at = chance.choice([at.start() for at in re.finditer(re.escape(text), line)])
        return line[:at] + line[at + len(text) :]

    return lose


def over(text: bytes) -> Damage:
    def put(line: bytes, chance: random.Random) -> bytes:
        at = chance.randrange(len(line) - len(text))
        return line[:at] + text + line[at + len(text) :]

    return put


def between(text: bytes) -> Damage:
    def put(line: bytes, chance: random.Random) -> bytes:
        at = chance.randrange(1, len(line))
        return line[:at] + text + line[at:]

    return put


def island(line: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(line) - 20)
    return line[:at] + line[at : at + 20].decode("latin-1").encode("utf-16-le") + line[at + 20 :]


def cut_in_a_code(line: bytes, chance: random.Random) -> bytes:
    codes = [at.end() for at in re.finditer(rb'"code":"', line)]
    return line[: chance.choice(codes) + 3] if codes else line[: len(line) // 2]


def over_two_lines(line: bytes, chance: random.Random) -> bytes:
    at = chance.choice([at.end() for at in re.finditer(rb",", line)])
    return line[:at] + b"\n" + line[at:]


def member(text: bytes) -> Damage:
    """A member more, somewhere in the outermost object: right behind the id, or last."""

    def put(line: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.5:
            return line[:-1] + b"," + text + b"}"
        at = line.index(b",")
        return line[:at] + b"," + text + line[at:]

    return put


def surrogate(line: bytes, chance: random.Random) -> bytes:
    at = chance.choice([at.start(1) for at in re.finditer(rb':"([^"]*)"', line)])
    return line[:at] + chance.choice((rb"\ud800", rb"\udfff", rb"\uD83Dx")) + line[at:]


def number_as(text: bytes) -> Damage:
    """A number in place of one that is there, else one more."""

    def put(line: bytes, chance: random.Random) -> bytes:
        places = list(re.finditer(rb'":(-?[0-9]+(?:\.[0-9]+)?)', line))
        if not places:
            return member(b'"length":' + text)(line, chance)
        at = chance.choice(places)
        return line[: at.start(1)] + text + line[at.end(1) :]

    return put


# -- damage to values


def changed(change: Callable[[dict[str, Any], random.Random], Any]) -> Damage:
    """Damage to what a line says, which stays JSON."""

    def put(line: bytes, chance: random.Random) -> bytes:
        resource = json.loads(line)
        change(resource, chance)
        return json.dumps(resource, separators=(",", ":"), ensure_ascii=False).encode()

    return put


def another_type(resource: dict[str, Any], chance: random.Random) -> None:
    kinds = ("Patient", "Procedure", "Observation", "Condition", "ImagingStudy", "Claim", "Basic")
    resource["resourceType"] = chance.choice([kind for kind in kinds if kind != resource["resourceType"]])


def misspelt_type(resource: dict[str, Any], chance: random.Random) -> None:
    kind = resource["resourceType"]
    resource["resourceType"] = chance.choice((kind.lower(), kind[:-1], f"{kind}s", f" {kind}", "", None, 7, [kind]))


def subject_of(resource: dict[str, Any]) -> str:
    return next((name for name in ("subject", "patient") if name in resource), "id")


def odd_reference(resource: dict[str, Any], chance: random.Random) -> None:
    name = subject_of(resource)
    own = resource[name]["reference"] if name != "id" else ""
    odd: tuple[Any, ...] = (
        None, [], {}, "", own, 7, {"reference": ""}, {"reference": None}, {"reference": "Patient/"}, {"reference": "Patient"}, {"reference": 7},
        {"reference": "Patient/nobody"}, {"reference": "Group/g"}, {"reference": "urn:uuid:7e1c5a3e-0000-4000-8000-000000000000"}, {"reference": "#p"},
        {"reference": own[:-1]}, {"reference": f"{own} "}, {"reference": own.replace("/", "//")}, {"reference": own.lower()}, {"display": "J. Doe"},
        {"reference": f"Practitioner/{own}"}, {"reference": own.removeprefix("Patient/")}, {"reference": "Patient?identifier=x|y"}, [{"reference": own}] * 2,
        {"identifier": {"value": "7"}}, {"Reference": own},
    )  # fmt: skip
    resource[name] = chance.choice(odd)


def odd_id(resource: dict[str, Any], chance: random.Random) -> None:
    own = resource["id"]
    odd: tuple[Any, ...] = (
        None, "", 7, 7.5, True, [own], {"value": own}, f" {own}", f"{own}\n", f"{own}/x", "a" * 300, own.upper(), "p0000001", "../x", "é",
    )  # fmt: skip
    resource["id"] = chance.choice(odd)


def odd_shape(resource: dict[str, Any], chance: random.Random) -> None:
    """A list where there is one value, one value where there is a list, or a value of another kind."""
    owner: Any = resource
    for _ in range(chance.randrange(4)):
        inner = [
            one
            for one in (owner.values() if isinstance(owner, dict) else owner)
            if isinstance(one, (dict, list)) and one
        ]
        if not inner:
            break
        owner = chance.choice(inner)
    if isinstance(owner, list):
        owner[0] = another_form(owner[0], chance)
        return
    name = chance.choice([name for name in owner if name != "resourceType"])
    owner[name] = another_form(owner[name], chance)


def another_form(value: Any, chance: random.Random) -> Any:
    """Something else than a value of the same form."""
    first = value[0] if isinstance(value, list) else [value]
    others: list[Any] = [first, None, "x", 1, True, {}, [[value]]]
    return chance.choice([one for one in others if type(one) is not type(value)])


KINDS: dict[str, Damage] = {
    "cut": lambda line, chance: line[: chance.randrange(1, len(line))],
    "cut in a code": cut_in_a_code,
    "begins late": lambda line, chance: line[chance.randrange(1, len(line)) :],
    "hole": lambda line, chance: line[: chance.randrange(5, 40)] + line[-chance.randrange(5, 40) :],
    "flipped bit": flipped,
    "several bits": lambda line, chance: flipped(flipped(flipped(line, chance), chance), chance),
    "lost quote": without(b'"'),
    "lost brace": without(b"}"),
    "lost opening brace": without(b"{"),
    "lost comma": without(b","),
    "lost colon": without(b":"),
    "duplicate status": member(b'"status":"entered-in-error"'),
    "duplicate code": member(b'"code":{"coding":[{"system":"http://loinc.org","code":"718-7"}]}'),
    "duplicate subject": member(b'"subject":{"reference":"Patient/p0000001"}'),
    "duplicate id": member(b'"id":"another"'),
    "duplicate type": member(b'"resourceType":"Basic"'),
    "duplicate within": lambda line, chance: re.sub(rb'("code":"[^"]*")', rb'\1,"code":"0"', line, count=1),
    "NUL": over(b"\0"),
    "NULs": over(b"\0" * 20),
    "Latin-1": over("ü".encode("latin-1")),
    "control character": over(b"\x1b"),
    "island of UTF-16": island,
    "UTF-16": lambda line, chance: line.decode().encode("utf-16-le"),
    "line feed lost": lambda line, chance: line + b"\r",
    "carriage return alone": lambda line, chance: line + b"\r" + line,
    "two on a line": lambda line, chance: line + line.replace(b'"id":"', b'"id":"second-'),
    "over two lines": over_two_lines,
    "line feed within": between(b"\n"),
    "another type": changed(another_type),
    "misspelt type": changed(misspelt_type),
    "type missing": changed(lambda resource, chance: resource.pop("resourceType")),
    "id missing": changed(lambda resource, chance: resource.pop("id")),
    "odd id": changed(odd_id),
    "reference missing": changed(lambda resource, chance: resource.pop(subject_of(resource))),
    "odd reference": changed(odd_reference),
    "odd shape": changed(odd_shape),
    "number of 10,000 digits": number_as(b"7" * 10_000),
    "number of 10,000 decimals": number_as(b"0." + b"7" * 10_000),
    "huge exponent": number_as(b"1e999999999"),
    "NaN": number_as(b"NaN"),
    "Infinity": number_as(b"-Infinity"),
    "leading zero": number_as(b"007"),
    "deep lists": member(b'"extension":' + b"[" * 3000 + b"]" * 3000),
    "deep objects": member(b'"extension":' + b'{"a":' * 3000 + b"1" + b"}" * 3000),
    "comma at the end of an object": lambda line, chance: line[:-1] + b",}",
    "comma at the end of a list": lambda line, chance: line[::-1].replace(b"]", b"],", 1)[::-1] if b"]" in line else line[:-1] + b",}",
    "comment": between(b"/* x */"),
    "single quotes": lambda line, chance: line.replace(b'"', b"'"),
    "another text": lambda line, chance: b"502 Bad Gateway",
    "HTML": lambda line, chance: HTML,
    "OperationOutcome": lambda line, chance: OUTCOME,
    "empty lines": lambda line, chance: b"\n \n\n" + line,
    "byte order mark": lambda line, chance: b"\xef\xbb\xbf" + line,
    "byte order mark within": between(b"\xef\xbb\xbf"),
    "lone surrogate": surrogate,
    "bad escape": over(b"\\x"),
    "more behind": lambda line, chance: line + chance.choice((b"}", b",", b"]", b" x", b"{}", b",{")),
    "null": lambda line, chance: chance.choice((b"null", b"[]", b"{}", b'""', b"7", b"[null]")),
}  # fmt: skip


IN_TEXTS = frozenset(
    ("flipped bit", "several bits", "byte order mark within", "comment", "hole", "odd shape", "odd id")
)
"""Damage that may leave a line whole, with another text in it: where that is a code, what it says now is what counts, as far as anybody can tell.

An odd form is told of records that are looked at; with `validate`, of all. Odd ids are told once a file.
"""


# -- what another reader makes of a line


@dataclass(slots=True)
class Plain:
    """What a line says by the standard library's reader of JSON."""

    value: Any = None
    whole: bool = False
    doubled: list[str] = field(default_factory=list)
    """Names that stand in one object twice."""


def plain(line: bytes) -> Plain:
    """What a line says; not `whole` where it is not one JSON value in UTF-8."""
    found = Plain()

    def refuse(text: str) -> None:
        raise ValueError(text)

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(members)
        if len(made) < len(members):
            found.doubled += [name for name, times in Counter(name for name, _ in members).items() if times > 1]
        return made

    try:
        text = line.decode().removeprefix("\ufeff").strip().removesuffix(",")
        found.value = json.loads(
            text,
            parse_constant=refuse,
            parse_int=lambda text: text,
            parse_float=lambda text: text,
            object_pairs_hook=pairs,
        )
        json.dumps(found.value, ensure_ascii=False).encode()
        found.whole = True
    except (ValueError, RecursionError):
        found.value = None
    return found


def is_resource(found: Plain) -> bool:
    """Whether something read is a resource of a type that there is."""
    kind = found.value.get("resourceType") if isinstance(found.value, dict) else None
    return found.whole and isinstance(kind, str) and kind in all_resource_types()


# -- the damaged export


@dataclass(slots=True)
class Damaged:
    """One damaged line: what kind of damage, whose record it was, and where what is left of it stands."""

    kind: str
    patient: str
    resource: str
    file: str
    lines: list[int]
    """Numbers of the lines of the file that come of it."""
    before: bytes
    after: bytes


def spoil(source: Path, target: Path, number: int, chance: random.Random) -> list[Damaged]:
    """Copy an export, with a number of lines damaged; all kinds are met."""
    target.mkdir(parents=True)
    contents = {path.name: path.read_bytes().splitlines() for path in sorted(source.iterdir())}
    places = [
        (name, at)
        for name, lines in contents.items()
        for at, line in enumerate(lines)
        if b'"resourceType":"Endpoint"' not in line
    ]
    if number > 1:
        # a file that begins with a line that is no whole value is read as values one behind the other, and not line by line
        places = [(name, at) for name, at in places if at > 0]
    kinds = [kind for kind in KINDS for _ in range(number // len(KINDS) + 1)]
    chance.shuffle(kinds)
    chosen = dict(zip(chance.sample(places, number), kinds, strict=False))
    damaged = []
    for name, lines in contents.items():
        out: list[bytes] = []
        for at, line in enumerate(lines):
            kind = chosen.get((name, at))
            if kind is None:
                out.append(line)
                continue
            try:
                after = KINDS[kind](line, chance)
            except IndexError:
                after = line[:-1]  # nothing of the kind is there to be damaged: it is cut
            resource = json.loads(line)
            first = len(out) + 1
            out += after.split(b"\n")
            about = (
                resource["id"]
                if resource["resourceType"] == "Patient"
                else resource[subject_of(resource)]["reference"].partition("/")[2]
            )
            damaged.append(
                Damaged(kind, f"Patient/{about}", f"{resource['resourceType']}/{resource['id']}", str(target / name), list(range(first, len(out) + 1)), line, after)
            )  # fmt: skip
        (target / name).write_bytes(b"".join(line + b"\n" for line in out))
    return damaged


# -- every way


Outcomes = dict[str, dict[str, tuple[str, ...]]]
"""By trial and patient: the verdict, and the outcome of each criterion."""


@dataclass(slots=True)
class Screened:
    """What one way of reading gives."""

    way: str
    outcomes: Outcomes
    problems: list[Problem]
    account: Resources | None = None


def rules() -> Criteria:
    """The benchmark's criteria in both languages, and those that rest on absence."""
    return fhir_eligibility.load_criteria(CRITERIA, libraries=[CRITERIA / "cql"])


def outcomes_of(verdicts: Any) -> Outcomes:
    """What verdicts say, by trial and patient."""
    found: Outcomes = {}
    for one in verdicts:
        found.setdefault(one.artifact, {})[one.patient] = (one.verdict, *(c.outcome for c in one.criteria))
    return found


WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "by plan": (running.SMALL, {}),
    "one process": (0, {"jobs": 1, "memory": 32 << 20}),
    "two processes": (0, {"jobs": 2, "memory": 32 << 20}),
}


def in_memory(criteria: Criteria, data: Path, tolerate: int = 0) -> Screened:
    """Everything read whole, from Python."""
    problems: list[Problem] = []
    found = list(read_patients([data], model=load_model("r4"), on_problem=problems.append, tolerate=tolerate))
    return Screened("memory", outcomes_of(fhir_eligibility.screen(criteria, found, now=NOW)), problems)


def by_plan(
    way: str, criteria: Criteria, data: Path, out: Path, tolerate: int = 0, *, validate: bool = False
) -> Screened:
    """A run with an output folder."""
    small, options = WAYS[way]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "SMALL", small)
        record = run(
            criteria, [], [data], out, RunOptions(now=NOW, tolerate=tolerate, validate=validate, **options)
        ).record
    listed = (out / "problems.ndjson").read_text("utf-8").splitlines()
    return Screened(
        way, outcomes_of(read_verdicts(out)), [Problem.model_validate_json(line) for line in listed], record.resources
    )


def every_way(
    criteria: Criteria, data: Path, out: Path, tolerate: int = 0, *, validate: bool = False
) -> Iterator[Screened]:
    """All of them; with `validate` what no criterion can need is looked at, too."""
    yield in_memory(criteria, data, tolerate)
    for way in WAYS:
        yield by_plan(way, criteria, data, out / way.replace(" ", "-"), tolerate, validate=validate)


# -- what must hold


def is_lost(one: Damaged) -> bool:
    """Whether nothing is left of a damaged line that is a resource."""
    return not (begins_with_values(one) or any(is_resource(plain(line)) for line in one.after.split(b"\n")))


def begins_with_values(one: Damaged) -> bool:
    """Whether a line is the first of its file and holds whole resources one behind the other, on one line or several: such a file is read value by value, and loses nothing."""
    if one.lines[0] != 1:
        return False
    try:
        left = one.after.decode().strip()
    except UnicodeDecodeError:
        return False
    while left:
        try:
            _, end = json.JSONDecoder().raw_decode(left)
        except ValueError:
            return False
        if not is_resource(plain(left[:end].replace("\n", " ").encode())):
            return False
        left = left[end:].lstrip()
    return True


UNKNOWN = ("unknown", "undetermined")


@dataclass(slots=True)
class Found:
    """What is wrong with one way of reading, and how often each kind of damage did what."""

    faults: list[str] = field(default_factory=list)
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)


def check(damaged: list[Damaged], before: Outcomes, after: Screened, tolerate: int) -> Found:
    """Hold the verdicts and problems of a damaged export to those of the undamaged one."""
    found = Found()
    told = {(problem.file, problem.line) for problem in after.problems}
    named = {problem.resource for problem in after.problems} | {problem.patient for problem in after.problems}
    # where a server says that data is missing, nobody knows how many records, and that is never tolerated
    tolerated = bool(tolerate) and not any(problem.code == "server-error" for problem in after.problems)
    mine: dict[str, list[Damaged]] = {}
    for one in damaged:
        mine.setdefault(one.patient, []).append(one)
        parts = one.after.split(b"\n")
        for line, part in zip(one.lines, parts, strict=True):
            lost = bool(part.strip()) and not is_resource(plain(part)) and not begins_with_values(one)
            if lost and (one.file, line) not in told:
                found.faults.append(f"{one.kind}: {one.file}:{line} is no resource, and no problem: {part[:200]!r}")
    for trial, patients in before.items():
        now = after.outcomes.get(trial, {})
        for patient in patients.keys() | now.keys():
            was, got = patients.get(patient, ("none",)), now.get(patient, ("none",))
            if was == got:
                continue
            others = len(was) != len(got) or any(x not in (y, *UNKNOWN) for x, y in zip(got, was, strict=True))
            about = mine.get(patient, [])
            kinds = "+".join(sorted({one.kind for one in about})) or "nothing of the patient"
            if not about:
                if others and len(was) > 1:
                    found.faults.append(
                        f"{trial} {patient}: {was} became {got}, though no line of the patient was damaged"
                    )
                elif tolerated and patient not in named and len(was) > 1:
                    found.faults.append(
                        f"{trial} {patient}: {was} became {got} with tolerance, though no line of the patient was damaged"
                    )
                continue
            silent = not any((one.file, line) in told for one in about for line in one.lines)
            silent = silent and not named & {patient, *(one.resource for one in about)}
            in_texts = not all(map(is_lost, about)) and any(one.kind in IN_TEXTS and not is_lost(one) for one in about)
            effect = ("silently " if silent else "") + ("changed" if others else "unknown")
            found.effects[kinds, effect] += 1
            if silent and (tolerated or others) and not in_texts:
                found.faults.append(
                    f"{trial} {patient}: {was} became {got} by {kinds} without a problem: {about[0].after[:300]!r}"
                )
            elif others and not tolerate and len(got) > 1 and all(map(is_lost, about)):
                # (a patient of whom no record that is read is left has no row; what is lost is told)
                found.faults.append(
                    f"{trial} {patient}: {was} became {got} by {kinds}, by what is lost: {about[0].after[:300]!r}"
                )
    return found


def check_account(account: Resources) -> list[str]:
    """Whether every line that is not blank was used, not needed, or a problem."""
    total = sum(sum(one.values()) for one in (account.used, account.passed, account.problems)) + account.empty
    if total == account.lines - account.blank:
        return []
    return [f"{account.lines} lines, {account.blank} of them blank, and {total} resources and problems: {account}"]


def compared(one: Screened, other: Screened, *, problems: bool) -> list[str]:
    """Where two ways differ: in verdicts, and in `problems` if these are to be the same."""
    found = []
    for trial in sorted(one.outcomes.keys() | other.outcomes.keys()):
        mine, theirs = one.outcomes.get(trial, {}), other.outcomes.get(trial, {})
        found += [
            f"{trial} {patient}: {mine.get(patient)} {one.way}, {theirs.get(patient)} {other.way}"
            for patient in sorted(mine.keys() | theirs.keys())
            if mine.get(patient) != theirs.get(patient)
        ]
    if problems and one.problems != other.problems:
        found.append(f"the problems are others {one.way} than {other.way}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Damage an export, screen it on every way, and say what does not hold; 1 where anything does not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.damage", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=10_000, help="damaged lines (default 10,000)")
    parser.add_argument("--patients", type=int, help="default: so many that about every fourth line is damaged")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    number = given.patients or max(50, round(given.lines / 1.8))
    criteria, bad = rules(), 0
    with tempfile.TemporaryDirectory() as place:
        whole, damaged = Path(place) / "whole", Path(place) / "damaged"
        write(whole, Options(number, given.seed, "ndjson", kilobytes=4, files=2))
        before = in_memory(criteria, whole)
        done = spoil(whole, damaged, given.lines, random.Random(given.seed))
        for tolerate in (0, 10**9):
            first: Screened | None = None
            for after in every_way(criteria, damaged, Path(place) / str(tolerate), tolerate):
                found = check(done, before.outcomes, after, tolerate)
                faults = found.faults + (check_account(after.account) if after.account is not None else [])
                if first is not None and first.account is not None:
                    faults += compared(first, after, problems=True)
                first = first if first is not None and first.account is not None else after
                bad += len(faults)
                verdicts = Counter(row[0] for rows in after.outcomes.values() for row in rows.values())
                print(
                    f"{number:,} patients, {len(done):,} damaged lines, {after.way}, {tolerate:,} tolerated: {dict(verdicts)}, {len(after.problems):,} problems, {len(faults)} faults",
                    flush=True,
                )
                for fault in faults[:20]:
                    print(f"  {fault}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks.damaged_bundles --bundles 2000`: bundles of one patient, in files of their own or in lines, and gzip members, of which every third is damaged.

On every way of reading it must hold that what is no JSON any more, or no whole gzip, is a problem that names its file; that nobody's verdict changes without a problem that names the file, or the
patient - unless all that changed is a value, which nobody can tell from another one; that what is lost makes verdicts undetermined, and never others; and that all ways agree.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.benchmarks.cohorts import Options, write
from tests.benchmarks.damage import KINDS, UNKNOWN, Outcomes, Screened, every_way, in_memory, rules

BYTES = ("cut", "begins late", "hole", "flipped bit", "several bits", "lost quote", "lost brace", "lost comma", "lost colon")  # fmt: skip
FORMS = ("files", "lines", "members")


def shape(value: Any) -> Any:
    """All that JSON says but the values of its texts, numbers and Booleans."""
    if isinstance(value, dict):
        return [(name, shape(below)) for name, below in value.items()]
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


def decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def packed(text: bytes) -> bytes:
    """A file of several gzip members, the ends of which fall where they may."""
    third = len(text) // 3
    return b"".join(gzip.compress(part, 1) for part in (text[:third], text[third : 2 * third], text[2 * third :]))


def laid(form: str, texts: dict[str, bytes], folder: Path) -> None:
    """Write bundles, given by their patient, in a form."""
    folder.mkdir()
    if form == "lines":
        flat = {name: text.replace(b"\n", b" ") for name, text in texts.items()}
        (folder / "all.ndjson").write_bytes(b"\n".join(flat.values()) + b"\n")
        return
    for name, text in texts.items():
        end = "json.gz" if form == "members" else "json"
        (folder / f"{name}.{end}").write_bytes(text)


def faults(form: str, before: Outcomes, after: Screened, damaged: dict[str, tuple[bytes, bytes]]) -> list[str]:
    """What does not hold on one way."""
    found: list[str] = []
    errors = [one for one in after.problems if one.severity == "error"]
    files = Counter(Path(one.file or "").name.partition(".")[0] for one in errors)
    named = {(name or "").partition("/")[2] for one in after.problems for name in (one.patient, one.resource)}
    told = files.keys() | named
    lost = {name for name, (_, text) in damaged.items() if form == "members" or decoded(text) is None}
    if form == "lines":
        unread = sum(one.code in ("invalid-json", "not-a-resource") for one in errors)
        found += [f"{len(lost)} lines are lost, and {unread} told"] if unread < len(lost) else []
    else:
        found += [f"{name} is lost, and not told" for name in sorted(lost - told)]
    for trial, patients in before.items():
        now = after.outcomes.get(trial, {})
        for patient, was in patients.items():
            got, name = now.get(patient), patient.partition("/")[2]
            if got == was or (got is None and name in damaged):
                continue
            others = got is None or any(x not in (y, *UNKNOWN) for x, y in zip(got, was, strict=True))
            if name not in damaged:
                # (another one's id may be this one's now, which is told)
                found += (
                    [f"{patient}, of whom nothing was damaged: {was} became {got}"]
                    if others and name not in named
                    else []
                )
                continue
            one, other = (decoded(text) for text in damaged[name])
            value = other is not None and shape(one) == shape(other)
            if others and not value and name not in told and form != "lines":
                found.append(f"{patient}: {was} became {got}, and nothing says why: {damaged[name][1][:200]!r}")
            elif others and name in lost:
                found.append(f"{patient}: {was} became {got}, by what is lost")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Damage, screen, and say what does not hold; 1 where anything does not."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.damaged_bundles", description=__doc__)
    parser.add_argument("--bundles", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    criteria, bad = rules(), 0
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made"
        write(made, Options(given.bundles, given.seed, "bundles", kilobytes=4))
        people: dict[str, bytes] = {}
        for path in sorted(made.rglob("*.json")):
            held = [one["resource"] for one in json.loads(path.read_bytes()).get("entry", ())]
            name = next((one["id"] for one in held if one["resourceType"] == "Patient"), None)
            if name is not None:
                people[name] = path.read_bytes()
        before = in_memory(criteria, made).outcomes
        for form in FORMS:
            chance = random.Random(f"{given.seed} {form}")
            texts = {name: packed(text) if form == "members" else text for name, text in people.items()}
            damaged: dict[str, tuple[bytes, bytes]] = {}
            for name in chance.sample(sorted(texts), len(texts) // 3):
                kinds = ("cut", "flipped bit") if form == "members" else BYTES
                whole = texts[name].replace(b"\n", b" ") if form == "lines" else texts[name]
                damaged[name] = whole, KINDS[chance.choice(kinds)](whole, chance)
            if form == "members":  # a bit in a header may be of no matter
                damaged = {name: pair for name, pair in damaged.items() if not _is_whole(*pair)}
            folder = Path(place) / form
            laid(form, {**texts, **{name: text for name, (_, text) in damaged.items()}}, folder)
            first: Screened | None = None
            for after in every_way(criteria, folder, Path(place) / f"out-{form}"):
                found = faults(form, before, after, damaged)
                if first is not None and first.outcomes != after.outcomes:
                    found.append(f"{after.way} gives other verdicts than {first.way}")
                first = first or (after if after.way != "memory" else None)
                verdicts = Counter(row[0] for rows in after.outcomes.values() for row in rows.values())
                print(
                    f"{len(people):,} bundles, {form}, {len(damaged):,} damaged, {after.way}: {dict(verdicts)}, {len(after.problems):,} problems, {len(found)} faults",
                    flush=True,
                )
                for text in found[:20]:
                    print(f"  {text}")
                bad += len(found)
    return 1 if bad else 0


def _is_whole(one: bytes, other: bytes) -> bool:
    try:
        return gzip.decompress(one) == gzip.decompress(other)
    except (OSError, EOFError, ValueError):
        return False
    except Exception:  # zlib's own error
        return False


if __name__ == "__main__":
    sys.exit(main())

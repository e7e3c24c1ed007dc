"""What changed, from the files in changes/ into CHANGELOG.md: `python -m tests.docs.changelog [--release VERSION --date DAY]`.

Each file is one change: its first line names the section, the rest is the entry (changes/README.md).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = (
    "Names",
    "Verdicts that change",
    "Data",
    "Outputs",
    "Commands",
    "Python",
    "Safety",
    "On its way out",
)
UNRELEASED = "## Not yet released"


def fragments(folder: Path) -> dict[str, list[str]]:
    """The entries by section, in the order of the names of their files. Raises ValueError for a file that is not one."""
    out: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        section, _, entry = path.read_text("utf-8").partition("\n")
        if section not in SECTIONS:
            raise ValueError(f"{path}: the first line is {section!r}; expected one of {', '.join(SECTIONS)}")
        if not entry.strip():
            raise ValueError(f"{path}: the entry is empty")
        lines = entry.strip().removeprefix("- ").splitlines()
        out.setdefault(section, []).append("\n".join(["- " + lines[0], *(f"  {line.strip()}" for line in lines[1:])]))
    return out


def merged(changelog: str, found: dict[str, list[str]], heading: str = UNRELEASED) -> str:
    """The text of the changelog with the entries under "Not yet released", which then has another heading."""
    before, rest = changelog.split(UNRELEASED + "\n", 1)
    body, mark, after = rest.partition("\n## ")
    sections: dict[str, str] = {}
    for part in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        sections[name] = text.strip("\n")
    for name, entries in found.items():
        sections[name] = "\n".join([text for text in (sections.get(name, ""), *entries) if text])
    order = [*SECTIONS, *(name for name in sections if name not in SECTIONS)]
    text = "".join(f"\n### {name}\n\n{sections[name]}\n" for name in order if name in sections)
    return f"{before}{heading}\n{text}{mark}{after}"


def release(root: Path, version: str, day: str) -> None:
    """Write the entries into CHANGELOG.md under a version, and remove their files."""
    path = root / "CHANGELOG.md"
    text = merged(path.read_text("utf-8"), fragments(root / "changes"), f"{UNRELEASED}\n\n## {version} ({day})")
    path.write_text(text, "utf-8")
    for fragment in (root / "changes").glob("*.md"):
        if fragment.name != "README.md":
            fragment.unlink()


def main(arguments: list[str] | None = None) -> int:
    out = argparse.ArgumentParser(prog="python -m tests.docs.changelog", description=__doc__)
    out.add_argument("--release", metavar="VERSION", help="write into CHANGELOG.md, under this version")
    out.add_argument("--date", metavar="DAY", help="the day of the release")
    options = out.parse_args(arguments)
    try:
        if options.release:
            release(ROOT, options.release, options.date or out.error("--release needs --date"))
        else:
            print(merged(f"{UNRELEASED}\n", fragments(ROOT / "changes")), end="")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

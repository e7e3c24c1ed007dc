"""`python -m tests.spec.headings CQLREFERENCE.md FHIRPATH.md`: writes headings.txt, the headings of both specifications with their anchors.

The files are `input/pages/09-b-cqlreference.md` of HL7/cql and `input/pages/index.md` of HL7/FHIRPath. The links of docs/operators.md are
looked up in the list, so that each leads to a heading that there is.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("headings.txt")
PAGES = {"cql": "https://cql.hl7.org/09-b-cqlreference.html", "fhirpath": "https://hl7.org/fhirpath/"}
# The chapters of the CQL reference by the short names that operators give.
CHAPTERS = {
    "Aggregate": "Aggregate Functions", "Arithmetic": "Arithmetic Operators", "Clinical": "Clinical Operators",
    "Comparison": "Comparison Operators", "DateTime": "Date and Time Operators", "Interval": "Interval Operators",
    "List": "List Operators", "Null": "Nullological Operators", "String": "String Operators", "Type": "Type Operators",
}  # fmt: skip
_RENAMED = {"componentfrom": "dateandtimecomponentfrom"}
_HEADING = re.compile(r"(#{2,6})\s+(.*?)\s*$")
_GIVEN = re.compile(r"\{:\s*#([\w-]+)\s*\}")
_NAME = re.compile(r'<a name="([^"]+)"></a>')


@dataclass(frozen=True, slots=True)
class Heading:
    """One heading: the page it is on, the heading of the chapter above it, its text and its anchor."""

    page: str
    chapter: str
    title: str
    anchor: str


def headings_of(page: str, text: str) -> Iterator[Heading]:
    """The headings of a page as it is published: an anchor that is given, else the text's letters and digits, numbered where it repeats."""
    seen: Counter[str] = Counter()
    chapter, given, fenced = "", None, False
    for line in text.splitlines():
        fenced ^= line.startswith(("```", "~~~"))
        found = _HEADING.match(line)
        if found is None or fenced:
            match = _GIVEN.fullmatch(line.strip())
            given = match.group(1) if match else None
            continue
        level, title = len(found.group(1)), found.group(2)
        named = _NAME.search(title)
        plain = _NAME.sub("", title).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
        anchor = named.group(1) if named else given
        if anchor is None:
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            anchor = f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1
        if level == 3:
            chapter = plain
        yield Heading(page, chapter, plain, anchor)
        given = None


@lru_cache(maxsize=1)
def headings() -> tuple[Heading, ...]:
    """The list that is kept."""
    return tuple(Heading(*line.split("\t")) for line in FILE.read_text("utf-8").splitlines())


def address(section: str) -> str:
    """The address of a section by the name that operators give it, `Chapter: Title`. Raises LookupError."""
    chapter, _, title = section.rpartition(": ")
    wanted = _letters(title)
    wanted = _RENAMED.get(wanted, wanted)
    if chapter.startswith("FHIRPath") or chapter == "Conversion":
        for heading in headings():
            if heading.page == "fhirpath" and _letters(heading.title).startswith(wanted):
                name = heading.title.partition("(")[0].strip()
                if _letters(name) == wanted or "(" in title or heading.title == title:
                    return f"{PAGES['fhirpath']}#{heading.anchor}"
        raise LookupError(f"FHIRPath has no heading {title!r}")
    long = CHAPTERS[chapter or "Arithmetic"]
    own = [h for h in headings() if h.page == "cql" and h.chapter == long]
    # what a later draft has under another name, or not at all, leads to the chapter
    found = next((h for h in own if _letters(h.title) == wanted), own[0])
    return f"{PAGES['cql']}#{found.anchor}"


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def main(cql: str, fhirpath: str) -> int:
    found = [
        *headings_of("cql", Path(cql).read_text("utf-8")),
        *headings_of("fhirpath", Path(fhirpath).read_text("utf-8")),
    ]
    FILE.write_text("".join(f"{h.page}\t{h.chapter}\t{h.title}\t{h.anchor}\n" for h in found), "utf-8")
    print(f"{len(found)} headings written to {FILE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

"""One sentence a line: a change of a sentence is then a change of a line. `python -m tests.docs.sentences` breaks the lines of the pages so.

Tables, code and headings stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.docs.pages import PAGES, ROOT

# What ends with a dot and is no end of a sentence.
SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|no|St|approx)\.|\.\.\.|^\W*\d+\.)$")
END = re.compile(r"""[.!?](?:[)"'*_]|\x00)*(?=\s+["'(*_]*(?:[A-Z\x00]))""")
ITEM = re.compile(r"( *)(?:[-*]|\d+\.) +")
CODE = re.compile(r"`[^`]*`")


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph."""
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match[0])
        return "\x01" + chr(0xE000 + len(kept) - 1)

    # what stands between backticks begins a sentence, and never ends one
    hidden = CODE.sub(hide, text)
    plain = hidden.replace("\x01", "\x00")
    out: list[str] = []
    start = 0
    for match in END.finditer(plain):
        if not SHORT.search(plain[start : match.end()]):
            out.append(hidden[start : match.end()].strip())
            start = match.end()
    out.append(hidden[start:].strip())
    return [re.sub("\x01(.)", lambda m: kept[ord(m[1]) - 0xE000], one, flags=re.DOTALL) for one in out if one]


def reflowed(text: str) -> str:
    """A page with one sentence a line."""
    out: list[str] = []
    paragraph: list[str] = []

    def flush() -> None:
        if paragraph:
            out.extend(lines_of(paragraph))
            paragraph.clear()

    fenced = False
    listed = False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            flush()
            fenced = not fenced
            out.append(line)
        elif fenced:
            out.append(line)
        elif not line.strip():
            flush()
            out.append(line)
        elif line.startswith(("#", "|", "<", "---")) or line.lstrip().startswith("|"):
            flush()
            listed = False
            out.append(line)
        elif not paragraph and line.startswith("    ") and not listed:
            out.append(line)
        elif ITEM.match(line):
            flush()
            listed = True
            paragraph.append(line)
        else:
            if not paragraph and not line.startswith(" "):
                listed = False
            paragraph.append(line)
        if not line.strip() and number + 1 < len(lines) and not lines[number + 1].startswith(" "):
            listed = listed and bool(ITEM.match(lines[number + 1]))
    flush()
    return "\n".join(out) + "\n"


def lines_of(paragraph: list[str]) -> Iterator[str]:
    """The lines of a paragraph, or of an item of a list: the further ones stand below its text."""
    item = ITEM.match(paragraph[0])
    first = item[0] if item else paragraph[0][: len(paragraph[0]) - len(paragraph[0].lstrip())]
    text = " ".join([paragraph[0][len(first) :].strip(), *(line.strip() for line in paragraph[1:])])
    for number, one in enumerate(sentences(text)):
        yield first + one if number == 0 else " " * len(first) + one


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        path.write_text(reflowed(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()

"""The pages of the documentation, and the code in them.

Code is indented by four spaces, or stands between fences. What kind a block is of is told by the word behind the fence or, where there is none,
by its first line; a block that is of no kind is an error, so that none is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Written by a program, or lines of records of the past.
GENERATED = {"docs/operators.md"}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    if path.name != "CHANGELOG.md" and str(path.relative_to(ROOT)) not in GENERATED
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code: the page and line where it begins, its kind (`commands`, `python`, `toml`, `json`, `text`, `cql`), and the code."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page in order."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = re.match(r"```(\w*)$", lines[at])
        begin = at + 1 if fence else at
        end = begin
        if fence:
            while lines[end] != "```":
                end += 1
            yield Block(page, begin + 1, _KINDS[fence[1]], "\n".join(lines[begin:end]) + "\n")
            end += 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            while end < len(lines) and (lines[end].startswith("    ") or _goes_on(lines, end)):
                end += 1
            text = "\n".join(line[4:] for line in lines[begin:end]).rstrip("\n") + "\n"
            yield Block(page, begin + 1, kind_of(text, f"{page}:{begin + 1}"), text)
        at = max(end, at + 1)


def _goes_on(lines: list[str], at: int) -> bool:
    """Whether an empty line stands between two lines of code."""
    return not lines[at].strip() and at + 1 < len(lines) and lines[at + 1].startswith("    ")


_KINDS = {
    "": "text",
    "text": "text",
    "console": "commands",
    "python": "python",
    "toml": "toml",
    "json": "json",
    "cql": "cql",
}
_FIRST = {
    "commands": r"(eligibility|make|python -m|pip|source|\.venv/bin/\w+) ",
    "python": r"(import|from|with|for|criteria =|def) ?",
    "toml": r"\[[a-z.]+\]$",
    "json": r"\{",
}


def kind_of(text: str, where: str) -> str:
    """The kind of a block without a fence, by its first line."""
    first = text.partition("\n")[0]
    for kind, pattern in _FIRST.items():
        if re.match(pattern, first):
            return kind
    raise AssertionError(f"{where}: what kind of code begins with {first!r}? Put it between fences, with a word")


def command_lines(text: str) -> Iterator[str]:
    """The command lines of a block, with the lines that go on, without comments at their ends."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        command = re.sub(r"(^|\s+)# .*$", "", line.removeprefix("$ ")).strip()
        if command:
            yield command

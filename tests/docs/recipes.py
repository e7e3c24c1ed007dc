"""The recipes of CONTRIBUTING.md, carried out on a copy of the package, just as they stand there.

`python -m tests.docs.recipes` writes what they print now into the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path

from tests.docs.outputs import programs
from tests.docs.pages import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
CODE = re.compile(r"^( *)```python\n(.*?)^ *```\n", re.DOTALL | re.MULTILINE)
TRIED = re.compile(r"^( *)```console\n(.*?)^ *```\n\n *```text\n(.*?)^ *```\n", re.DOTALL | re.MULTILINE)
APPENDED = re.compile(r"Add to `([\w./]+)`:$")
INSERTED = re.compile(r"In `([\w./]+)`, behind `(.+)`, add:$")
PRECEDED = re.compile(r"In `([\w./]+)`, before `(.+)`, add:$")
REPLACED = re.compile(r"In `([\w./]+)`, in the place of `(.+)`, write:$")
FORM = re.compile(r'^FORMS = \{("\w+")', re.MULTILINE)
WRITTEN = re.compile(r"Write `([\w./]+)`:$")


def recipes() -> dict[str, str]:
    """The recipes that have something to try, by title."""
    found = re.split(r"^### ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    parts = {part.partition("\n")[0]: part for part in found}
    return {title: text for title, text in parts.items() if TRIED.search(text)}


def carried_out(text: str, folder: Path) -> str:
    """What the commands of a recipe print after its code was put where it says, on a copy of the package in `folder`."""
    shutil.copytree(ROOT / "engine", folder / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "criteria").symlink_to(ROOT / "criteria")
    for match in CODE.finditer(text):
        put(text[: match.start()].rstrip().splitlines()[-1].strip(), block_of(match), folder)
    (tried,) = TRIED.finditer(text)
    return run(textwrap.dedent(tried[2]), folder)


def files_touched(text: str) -> list[str]:
    """The files of the package into which a recipe puts code."""
    found: dict[str, None] = {}
    for match in CODE.finditer(text):
        path = path_in(text[: match.start()].rstrip().splitlines()[-1].strip())
        if path.startswith("engine/"):
            found[path] = None
    return list(found)


def path_in(where: str) -> str:
    """The file that the sentence before a block of code names."""
    for sentence in (APPENDED, WRITTEN, INSERTED, PRECEDED, REPLACED):
        if found := sentence.search(where):
            return found[1]
    raise AssertionError(f"{where!r} does not say where the code goes")


def block_of(match: re.Match[str]) -> str:
    """The code of a block without the indentation of the list that it stands in."""
    indent = match[1]
    return "".join(line.removeprefix(indent) for line in match[2].splitlines(keepends=True))


def put(where: str, code: str, folder: Path) -> None:
    """Put code where the sentence before it says. What stands there already, because somebody kept what a recipe makes, is not put there twice."""
    path = folder / path_in(where)
    if path.exists() and code in path.read_text("utf-8"):
        return
    if found := APPENDED.search(where):
        path.write_text(f"{path.read_text('utf-8')}\n\n{code}", "utf-8")
    elif found := WRITTEN.search(where):
        for name in FORM.findall(code):
            without_form(name, path.parent)
        path.write_text(code, "utf-8")
    elif found := INSERTED.search(where) or PRECEDED.search(where) or REPLACED.search(where):
        before, line, after = path.read_text("utf-8").partition(f"{found[2]}\n")
        assert line, f"{found[1]} has no line {found[2]!r}"
        put_in = line + code if found.re is INSERTED else code + line if found.re is PRECEDED else code
        path.write_text(before + put_in + after, "utf-8")
    else:
        raise AssertionError(f"{where!r} does not say where the code goes")


def without_form(name: str, forms: Path) -> None:
    """Take a form away from the modules that have it: two modules with one form are refused."""
    for path in forms.glob("*.py"):
        text = path.read_text("utf-8")
        path.write_text(re.sub(rf"{re.escape(name)}: \w+,?\s*", "", text), "utf-8")


def run(commands: str, folder: Path) -> str:
    """What commands print, where `eligibility` and `python` are those of the copy."""
    programs(folder)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "engine"),
        "FHIR_ELIGIBILITY_CACHE": "off",
        "COLUMNS": "120",
    }
    out = []
    for line in commands.splitlines():
        done = subprocess.run(
            ["bash", "-c", line.removeprefix("$ ")], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, f"{line}\n{done.stdout}\n{done.stderr}"
        out.append(done.stdout + done.stderr)
    return "".join(out)


def main() -> None:
    page = PAGE.read_text("utf-8")
    for text in recipes().values():
        (tried,) = TRIED.finditer(text)
        with tempfile.TemporaryDirectory() as name:
            printed = textwrap.indent(carried_out(text, Path(name)), tried[1])
        begin, end = tried.span(3)
        page = page.replace(text, text[:begin] + printed + text[end:])
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()

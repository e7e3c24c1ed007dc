"""Every command line and every block of code of the README and of the pages of documentation is carried out."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import COMMANDS, main, parser
from tests.docs.pages import PAGES, ROOT, Block, blocks, command_lines
from tests.docs.world import World, world

# Pages of which the commands are carried out here; what the others hold is the matter of tests of their own.
MANUAL = [page for page in PAGES if page == "README.md" or (page.startswith("docs/") and page != "docs/api.md")]

# Command lines that are not carried out here, by how they begin, each with the reason. What can be parsed is parsed all the same.
NOT_CARRIED_OUT = {
    "make demo": "sets up an environment of its own; `make --dry-run` is asked whether the target is there",
    "make test": "runs this very test",
    "python -m pip install '.[": "fetches what is optional from a registry",
    "python -m pip wheel": "in test_installation.py",
    "python -m venv": "in test_installation.py",
    "trial-environment/bin/": "in test_installation.py",
    "pip install": "fetches what is optional from a registry",
    "python -m tests.benchmarks.cohorts": "writes gigabytes; tests/benchmarks/test_cohorts.py writes small cohorts",
    "python -m tests.benchmarks.screening": "takes minutes, and fetches the programs that it compares with",
    "python -m tests.benchmarks.kills": "takes hours",
    "python -m tests.benchmarks.nights": "takes minutes",
}
# What is given instead of what stands in the documentation, each with the reason.
INSTEAD = {
    "client-id=ID,key=private.jwks": (
        "bearer-env=TOKEN",
        "the stub gives no tokens; tests/data/test_smart.py has one that does",
    ),
}
# Exit statuses other than 0, by a part of the command.
STATUSES = {"--min-patients 1000": 5}  # the example cohort has twelve patients


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world of one page, as current folder."""
    pytest.importorskip("urllib3")
    pytest.importorskip("pydicom")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("TX_TOKEN", "secret")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    page = request.node.name
    with world(tmp_path / "world", value_set="terminology" in page, exported="fetching" not in page) as made:
        monkeypatch.chdir(made.folder)
        yield made


def carried_out(block: Block, line: str) -> bool:
    return not any(line.startswith(begin) for begin in NOT_CARRIED_OUT)


@pytest.mark.slow
@pytest.mark.parametrize("page", MANUAL)
def test_commands_and_code(page: str, here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(page):
        if block.kind == "commands":
            for line in command_lines(block.text):
                if carried_out(block, line):
                    run_command(block, line, here, monkeypatch)
        elif block.kind == "python":
            printed = run_python(block, here)
            assert printed.strip() or "print(" not in block.text, f"{block}: nothing is printed"
        elif block.kind == "toml":
            (here.folder / "nightly.toml").write_text(here.real(block.text), "utf-8")
        elif block.kind == "json":
            check_log(block, here)
        else:
            raise AssertionError(f"{block}: {block.kind} is not carried out by anything")


def run_command(block: Block, line: str, here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = here.real(line)
    for written, (meant, _) in INSTEAD.items():
        text = text.replace(written, meant)
    command, _, into = text.partition(" > ")
    words = shlex.split(command)
    assert words[0] == "eligibility", f"{block}: {line} is carried out by nothing"
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words[1:])
    expected = next((s for part, s in STATUSES.items() if part in line), 0)
    assert status == expected, f"{block}: {line}\n{out.getvalue()[-2000:]}\n{err.getvalue()[-2000:]}"
    if into:
        path = Path(into.strip()).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(out.getvalue(), "utf-8")


def run_python(block: Block, here: World) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(here.real(block.text), str(block), "exec"), {})
    return out.getvalue()


def check_log(block: Block, here: World) -> None:
    """The lines of a log that the page shows have the members that real lines of that step have."""
    data = here.folder / "damaged"
    shutil.copytree(here.folder / "export", data)
    with (data / "Observation.ndjson").open("a", encoding="utf-8") as file:
        file.write("{not JSON\n")
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        for out in ("logged", "-"):
            main(["screen", "trials", "--data", str(data), "--out", out, "--log-format", "json"])
    real: dict[str, set[str]] = {}
    for line in err.getvalue().splitlines():
        found = json.loads(line)
        real.setdefault(found["step"], set()).update(found)
    for line in block.text.splitlines():
        shown = json.loads(line)
        if shown["step"] in real and shown["step"] != "reading":
            assert set(shown) <= real[shown["step"]], f"{block}: {shown['step']} has {sorted(real[shown['step']])}"
    assert {"data", "done"} <= set(real)


def all_commands() -> list[tuple[Block, str]]:
    return [
        (b, line) for page in MANUAL for b in blocks(page) if b.kind == "commands" for line in command_lines(b.text)
    ]


def test_each_line_that_is_not_carried_out_is_in_a_page() -> None:
    lines = [line for _, line in all_commands()]
    for begin, reason in NOT_CARRIED_OUT.items():
        assert reason and any(line.startswith(begin) for line in lines), begin
    text = "".join((ROOT / page).read_text("utf-8") for page in MANUAL)
    assert all(written in text for written in INSTEAD)


@pytest.mark.parametrize(("block", "line"), [(b, t) for b, t in all_commands() if not carried_out(b, t)], ids=str)
def test_what_is_not_carried_out_is_parsed(block: Block, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif words[:2] == ["python", "-m"] and words[2].startswith("tests.benchmarks."):
        given = [word.strip("[]") for word in words[3:]]
        module = import_module(words[2])
        if hasattr(module, "parser"):
            module.parser().parse_args(given)
        else:
            assert all(
                f'"{word}"' in Path(module.__file__ or "").read_text("utf-8") for word in given if word.startswith("--")
            )
    elif "[" in line:
        extras = re.findall(r"\w+", re.findall(r"\[([\w,]+)\]", line)[0])
        assert set(extras) <= set(
            re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
        )


OPTIONS_OF_OTHERS = {
    "--no-": "the beginning of options",
    "--peer-patients": "tests.benchmarks",
    "--dry-run": "make",
}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CONTRIBUTING.md"])
def test_options_that_a_page_names_are_options(page: str) -> None:
    known = set(OPTIONS_OF_OTHERS)
    for leaf in leaves(parser()):
        leaf.prepare()
        known |= set(leaf._option_string_actions)
    text = (ROOT / page).read_text("utf-8")
    for named in re.findall(r"`(--[a-z][a-z-]+)", text):
        assert named in known, f"{page}: no command has {named}"
    for name in re.findall(r"`eligibility ([a-z]+)", text):
        assert name in COMMANDS, f"{page}: there is no command {name}"


def leaves(top: Any) -> Iterator[Any]:
    actions = [a for a in top._actions if hasattr(a, "choices") and isinstance(a.choices, dict)]
    if not actions:
        yield top
    for action in actions:
        for child in dict.fromkeys(action.choices.values()):
            yield from leaves(child)


LINK = re.compile(r"`((?:docs|engine|tests|criteria|features|examples|changes)/[\w./-]*|[A-Z]+\.md)`")


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    # the table of folders names files from there: tests/docs/test_packages.py
    text = re.sub(r"<!-- written by .*?<!-- to here -->", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    new = re.findall(r"Write `([\w./]+)`:", text)
    for named in set(LINK.findall(text)) - set(new):
        assert (ROOT / named).exists(), f"{page}: there is no {named}"

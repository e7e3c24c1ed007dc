"""The parser of every command: wrong options are named, lists may come in pieces, examples of the help are command lines that parse."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_eligibility.ui.commands.cli import COMMANDS, main, parser
from fhir_eligibility.ui.options.argument_types import PATH, ArgumentType
from fhir_eligibility.ui.options.command_parser import CommandParser, documentation
from fhir_eligibility.ui.sources.base import DATA

ROOT = Path(__file__).parents[2]


def leaves(one: argparse.ArgumentParser) -> Iterator[CommandParser]:
    """The parsers of all commands and verbs."""
    below = [action for action in one._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        assert isinstance(one, CommandParser)
        yield one
    for action in below:
        for name in action.choices:
            yield from leaves(action.choices[name])


LEAVES = {leaf.prog: leaf for leaf in leaves(parser())}
SCREEN = ["screen", "criteria/flute/mr", "--data", "d", "--out", "o"]


def failed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scren"], "there is no command 'scren'; did you mean `eligibility screen`?"),
        (["Screen"], "did you mean `eligibility screen`?"),
        (["xyzzy"], "there is no command 'xyzzy'; there are screen, show, export, check"),
        (["imaging", "verfy", "x"], "'verfy' is not known; did you mean verify?"),
        ([*SCREEN, "--jbos", "4"], "eligibility screen: unknown option --jbos; did you mean --jobs?"),
        ([*SCREEN, "--jobs4"], "unknown option --jobs4; did you mean --jobs?"),
        ([*SCREEN, "-jobs", "4"], "unknown option -jobs; did you mean --jobs?"),
        ([*SCREEN, "--max-undet=4%"], "unknown option --max-undet; did you mean --max-undetermined?"),
        ([*SCREEN, "--mem", "4GB"], "unknown option --mem; did you mean --memory?"),
        (["screen", "c", "--data", "d", "--ouput", "o"], "unknown option --ouput; did you mean --out?"),
        ([*SCREEN, "--frobnicate"], "unknown option --frobnicate\n"),
        ([*SCREEN, "--jbos", "4", "--memry", "4GB"], "--jbos; did you mean --jobs?; unknown option --memry"),
        ([*SCREEN, "--jobs"], "--jobs: its value is missing"),
        ([*SCREEN, "--absent", "unknwon"], "--absent: 'unknwon' is not known; did you mean unknown?"),
        ([*SCREEN, "--log-format", "xml"], "--log-format: 'xml' is not known; expected text or json"),
        (["screen", "criteria/flute/mr"], "--data PATH and --out DIR are missing\nusage: eligibility screen CRITERIA"),
        (["screen", "--data", "d", "--out", "o"], "CRITERIA is missing"),
        (["export", "https://x", "--out", "o", "--group", "1", "--patients"], "--patients does not go with --group"),
        (["export", "htp://x", "--out", "o"], "did you mean http://x?"),
        (["fhirpath", "1", "a.json", "b.json"], "'b.json' is not expected here"),
        (["schema", "verdicts"], "'verdicts' is not known; did you mean verdict?"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = failed(arguments, capsys)
    assert message in shown
    assert len(shown.splitlines()) <= 3, "a sentence, not a page"


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    shown = failed([], capsys)
    assert all(re.search(rf"^ +{name}\b", shown, re.MULTILINE) for name in COMMANDS)
    assert "to begin:" in shown


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_the_help_of_each_command_is_whole(leaf: CommandParser) -> None:
    shown = leaf.format_help()
    assert shown.startswith(f"usage: {leaf.prog}")
    assert "\nexamples:\n" in shown and "\nexit statuses:\n" in shown
    page = shown.rstrip().rpartition("More: ")[2]
    assert Path(page).is_file() and Path(page).parent == ROOT / "docs" == documentation()
    for action in leaf._actions:
        assert action.help, f"{action.dest} is not explained"
        named = [name for name in action.option_strings if name.startswith("--")]
        assert all(name in shown for name in named)
    own = [group.title for group in leaf._action_groups if group._group_actions]
    assert own[-1] == "help" and leaf._optionals._group_actions[0].dest == "help"
    assert len(leaf._optionals._group_actions) == 1, "an option that is in no group"


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_the_examples_of_each_command_parse(
    leaf: CommandParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nightly.toml").write_text(
        '[screen]\ncriteria = "c"\ndata = "d"\nout = "o"\n[export]\nserver = "https://x"\nout = "o"\n'
    )
    assert 1 <= len(leaf.examples) <= 4
    for line in leaf.examples:
        words = shlex.split(line.rpartition("|")[2].partition(" > ")[0])
        assert " ".join(words).startswith(leaf.prog), "an example of another command"
        parser().parse_args(words[1:])


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_the_command_lines_of_the_documentation_parse(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nightly.toml").write_text('[screen]\ncriteria = "c"\ndata = "d"\nout = "o"\n')
    for line in command_lines(page.read_text("utf-8")):
        words = [word for word in shlex.split(line, comments=True) if word != "..."]
        options = parser().parse_args([*words[1:], *(["--write-config"] if "..." in line else [])])
        assert callable(options.run)


def command_lines(text: str) -> Iterator[str]:
    """The lines of code that call the program, with the lines that go on."""
    joined = re.sub(r"\\\n\s*", "", text)
    for match in re.finditer(r"^ {4,}(?:\$ )?(?:\S*/)?(eligibility [a-z].*)$", joined, re.MULTILINE):
        yield match[1].partition(" > ")[0].partition(" | ")[0]


def test_lists_may_be_given_in_pieces() -> None:
    options = parser("screen").parse_args([*SCREEN, "--data", "e", "f", "--libraries", "l"])
    assert options.data == ["d", "e", "f"]
    assert (options.libraries, options.valuesets) == (["l"], [])
    options.libraries.append("x")
    assert parser("screen").parse_args(SCREEN).libraries == []


def test_a_switch_is_turned_off_by_its_opposite() -> None:
    assert parser("screen").parse_args(SCREEN).resume is False
    assert parser("screen").parse_args([*SCREEN, "--resume"]).resume is True
    assert parser("screen").parse_args([*SCREEN, "--resume", "--no-resume"]).resume is False
    export = ["export", "https://x", "--out", "o"]
    assert parser("export").parse_args([*export, "--no-type-filter"]).no_type_filter is True
    assert parser("export").parse_args([*export, "--no-no-type-filter"]).no_type_filter is False


def test_what_was_given_is_known() -> None:
    assert parser("screen").parse_args([*SCREEN, "--jobs", "2"]).given == {"criteria", "data", "out", "jobs"}


OPTIONS = [
    (leaf, action)
    for leaf in LEAVES.values()
    for action in leaf.settings()
    if any(name.startswith("--") for name in action.option_strings)
]


def told(leaf: CommandParser, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command answers to words that are wrong."""
    assert main([*leaf.prog.split()[1:], *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(("leaf", "action"), OPTIONS, ids=[f"{a.prog} {b.option_strings[-1]}" for a, b in OPTIONS])
def test_each_option_is_named_where_it_is_misspelt_or_has_a_wrong_value(
    leaf: CommandParser, action: argparse.Action, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(name for name in action.option_strings if name.startswith("--"))
    misspelt = f"{name[:4]}{'q' if name[4:5] == 'x' else 'x'}{name[5:]}"
    shown = told(leaf, [misspelt], capsys)
    assert f"unknown option {misspelt}" in shown
    assert len(name) < 8 or "; did you mean --" in shown
    if action.nargs != 0 and action.nargs != "?":
        assert f"{name}: its value is missing" in told(leaf, [name], capsys)
    free = action.type in (None, PATH, DATA) or not isinstance(action.type, ArgumentType)
    if action.choices is not None or not free:
        shown = told(leaf, [name, "no such thing"], capsys)
        assert name in shown.splitlines()[0] and "no such thing" in shown
        assert len(shown.splitlines()) <= 2

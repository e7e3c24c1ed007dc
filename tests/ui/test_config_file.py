"""Options from a file: every option of every command, checked as on the command line, which wins; and files that are printed read back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import main, parser
from fhir_eligibility.ui.options.actions import Switch
from fhir_eligibility.ui.options.argument_types import Limit
from fhir_eligibility.ui.options.config_file import is_list, key_of
from tests.ui.test_options import LEAVES

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"
WITH_CONFIG = {name: leaf for name, leaf in LEAVES.items() if "--config" in leaf._option_string_actions}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "options.toml"
    path.write_text(text, "utf-8")
    return str(path)


def options_of(*arguments: str) -> dict[str, Any]:
    found = dict(vars(parser().parse_args(list(arguments))))
    for name in ("given", "parser", "config", "write_config"):
        found.pop(name)
    return found


def test_every_command_that_runs_unattended_has_it() -> None:
    assert {name.removeprefix("eligibility ") for name in WITH_CONFIG} >= {
        "screen",
        "export",
        "measure",
        "check",
        "compile",
        "requirements",
        "imaging verify",
        "imaging fetch",
        "imaging thumbnails",
        "imaging manifest",
        "imaging store",
    }


def test_a_file_instead_of_options(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [screen]
        criteria = "c"                   # one, or a list
        data = ["d", "e"]
        out = "o"
        now = 2026-06-01
        jobs = 2
        memory = "800MB"
        criterion-seconds = 5
        resume = true
        parameter = ["A=1", "B=2"]
        max-undetermined = "2%"
        max-problems = 0
        [export]
        server = "https://x"
        """,
    )
    found = parser("screen").parse_args(["screen", "--config", path])
    assert (found.criteria, found.data, found.out, found.now) == (["c"], ["d", "e"], "o", "2026-06-01")
    assert (found.jobs, found.memory, found.criterion_seconds, found.resume) == (2, 800_000_000, 5.0, True)
    assert (found.parameter, found.max_undetermined, found.max_problems) == (["A=1", "B=2"], Limit(2, percent=True), 0)
    assert (found.timezone, found.quiet) == ("UTC", False)


def test_the_command_line_wins(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[screen]\ncriteria = ["c"]\ndata = ["d"]\nout = "o"\njobs = 2\nresume = true\nparameter = ["A=1"]\nquiet = true\n',
    )
    found = parser("screen").parse_args(
        ["screen", "other", "--config", path, "--data", "x", "y", "--jobs", "1", "--no-resume", "--parameter", "B=2"]
    )
    assert (found.criteria, found.data, found.out, found.jobs) == (["other"], ["x", "y"], "o", 1)
    assert (found.resume, found.quiet, found.parameter) == (False, True, ["B=2"])


def test_of_two_options_that_exclude_each_other_the_command_line_wins(tmp_path: Path) -> None:
    path = written(tmp_path, '[export]\nserver = "https://x"\nout = "o"\ngroup = "17"\n')
    found = parser("export").parse_args(["export", "--config", path, "--patients"])
    assert (found.group, found.patients) == (None, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[screen]\n\njbos = 2\n", "options.toml:3: jbos: `eligibility screen` has no such option; did you mean jobs?"),
        (
            "[screen]\nmax_problems = 2\n",
            "options.toml:2: max_problems: `eligibility screen` has no such option; did you mean max-problems?",
        ),
        (
            '[screen]\n"--jobs" = 2\n',
            "options.toml:2: --jobs: `eligibility screen` has no such option; did you mean jobs?",
        ),
        (
            "[screen]\nfrobnicate = 2\n",
            "options.toml:2: frobnicate: `eligibility screen` has no such option; --write-config",
        ),
        ('[screen]\njobs = "2"\n', 'options.toml:2: jobs: expected a whole number of processes, found "2"'),
        ("[screen]\njobs = 2.5\n", "options.toml:2: jobs: expected a whole number of processes, found 2.5"),
        ("[screen]\njobs = 0\n", "options.toml:2: jobs: 0 processes cannot run"),
        ("[screen]\nmemory = 800\n", "options.toml:2: memory: 800 bytes? write 800MB"),
        (
            "[screen]\nmemory = true\n",
            "options.toml:2: memory: expected an amount of memory such as 800MB or 6GB, found true",
        ),
        ('[screen]\nresume = "yes"\n', 'options.toml:2: resume: expected true or false, found "yes"'),
        ("[screen]\nresume = 1\n", "options.toml:2: resume: expected true or false, found 1"),
        ("[screen]\ndata = []\n", "options.toml:2: data: the list is empty"),
        ("[screen]\ndata = [1]\n", "options.toml:2: data: expected a path, or an address"),
        ('[screen]\ndata = "htp://x"\n', "did you mean http://x?"),
        ("[screen]\nout = 3\n", "options.toml:2: out: expected a path, found 3"),
        ("[screen]\nout = ['a']\n", "options.toml:2: out: expected a path, found a list"),
        (
            "[screen]\nnow = 09:00:00\n",
            "options.toml:2: now: expected a date or time such as 2026-03-01, found a time of day",
        ),
        (
            '[screen]\nabsent = "maybe"\n',
            "options.toml:2: absent: 'maybe' is not known; expected default, unknown or not-met",
        ),
        ("[scren]\njobs = 2\n", "has no section [screen]; did you mean [screen] where [scren] stands?"),
        ("[measure]\n[imaging.verify]\n", "has no section [screen]; it has [measure], [imaging]"),
        ("jobs = 2\n", "has no section [screen]"),
        ("screen = 3\n", "options.toml:1: screen: expected a section [screen], found 3"),
        ("screen = {jbos = 3}\n", "options.toml:1: jbos: `eligibility screen` has no such option; did you mean jobs?"),
        ("[screen]\njobs = \n", "options.toml is not TOML: Invalid value (at line 2, column 8)"),
        ('[screen]\nconfig = "x"\n', "options.toml:2: config: `eligibility screen` has no such option"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    assert main(["screen", "c", "--data", "d", "--out", "o", "--config", path]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("screen", 'password = "hunter2"'),
        ("screen", 'data-token = "hunter2"'),
        ("screen", 'dicomweb = "https://me:hunter2@archive/dicom-web"'),
        ("screen", 'data = ["https://me:hunter2@server/fhir"]'),
        ("screen", 'data-auth = "Bearer hunter2"'),
        ("screen", 'data-auth = "bearer=hunter2"'),
        ("screen", 'terminology-auth = "me:hunter2"'),
        ("screen", 'terminology-auth = "hunter2"'),
        ("screen", 'dicomweb-auth = "hunter2"'),
        ("screen", 'dicomweb-auth = "user=me,password=hunter2"'),
        ("screen", 'token-file = "hunter2"'),
        ("imaging.verify", 'DICOMWEB_PASSWORD = "hunter2"'),
        ("imaging.verify", 'client-secret = "hunter2"'),
    ],
)
def test_secrets_are_refused_and_not_repeated(
    section: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, f"[{section}]\n{line}\n")
    assert main([*section.split("."), "--config", path]) == 2
    shown = capsys.readouterr().err
    assert "secrets do not belong into this file" in shown and "options.toml:2: " in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "text",
    [
        'data-auth = "bearer-env=TOKEN"',
        'data-auth = "client-id=a,key=k.pem"',
        'terminology-auth = "bearer-env=TX_TOKEN"',
        'terminology-auth = "client-id=a,key=k.pem"',
        'dicomweb-auth = "user=me,password-file=f"',
        'dicomweb-auth = "bearer-file=f"',
    ],
)
def test_where_a_secret_is_may_be_said(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"[screen]\n{text}\n")
    parser("screen").parse_args(["screen", "c", "--data", "d", "--out", "o", "--config", path])


def test_an_option_of_earlier_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, '[imaging.verify]\nuser = "me"\n')
    assert main(["imaging", "verify", "run", "--config", path]) == 2
    assert 'write dicomweb-auth = "user=NAME,password-file=FILE (or password-env=VARIABLE)"' in capsys.readouterr().err


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["screen", "--config", str(tmp_path / "no.toml")]) == 2
    assert "no.toml does not exist; --write-config prints such a file" in capsys.readouterr().err
    (tmp_path / "latin.toml").write_bytes(b"[screen]\nout = 'f\xfcr'\n")
    assert main(["screen", "--config", str(tmp_path / "latin.toml")]) == 2
    assert "latin.toml is not text in UTF-8" in capsys.readouterr().err
    assert main(["screen", "--config", str(tmp_path)]) == 2


# -- files that are printed


def text_for(action: argparse.Action) -> list[str]:
    """A value on the command line that is not the default."""
    if action.dest.endswith("_auth"):
        return ["bearer-env=TOKEN"]
    for text in ("7", "x/y", "https://x/y", "800MB", "2026-03-01T00:00:00Z", "2026", "Europe/Paris"):
        try:
            value = LEAVES["eligibility screen"]._get_value(action, text)
        except argparse.ArgumentError:
            continue
        if action.choices is None or value in action.choices:
            return [text]
    assert action.choices is not None
    return [str(next(choice for choice in action.choices if choice != action.default))]


@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_printed_file_reads_back_to_the_same_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf, words = LEAVES[name], name.split()[1:]
    either = {a.dest for group in leaf._mutually_exclusive_groups for a in group._group_actions[1:]}
    for action in leaf.settings():
        if action.dest in either:
            continue
        values = [] if isinstance(action, Switch) else text_for(action) * (2 if is_list(action) and action.nargs else 1)
        words += [*action.option_strings[:1], *values] if action.option_strings else []
    positional = [text for a in leaf.settings() if not a.option_strings for text in text_for(a)]
    words = [*name.split()[1:], *positional, *words[len(name.split()) - 1 :]]
    assert main([*words, "--write-config"]) == 0
    path = written(tmp_path, capsys.readouterr().out)
    assert options_of(*name.split()[1:], "--config", path) == options_of(*words)


@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_printed_file_has_every_option_with_its_default(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf, words = LEAVES[name], name.split()[1:]
    assert main([*words, "--write-config"]) == 0
    shown = capsys.readouterr().out
    lines = [line.removeprefix("# ") for line in shown.splitlines()]
    defaults = [f"[{'.'.join(words)}]"]
    for action in leaf.settings():
        (line,) = [line for line in lines if line.startswith(f"{key_of(action)} = ")]
        if leaf.own_defaults[action.dest] not in (None, []):
            defaults.append(line)
    required = [w for a in leaf.needed.values() for w in ([*a.option_strings[:1], *text_for(a)])]
    required = [w for a in leaf.needed.values() if not a.option_strings for w in text_for(a)] + [
        w for a in leaf.needed.values() if a.option_strings for w in (a.option_strings[0], *text_for(a))
    ]
    plain = options_of(*words, *required)
    assert options_of(*words, *required, "--config", written(tmp_path, "\n".join(defaults))) == plain
    assert options_of(*words, *required, "--config", written(tmp_path, shown)) == plain


@pytest.mark.parametrize(
    "text",
    [
        'quo"ted',
        "back\\slash",
        "Grüße 日本語 \U0001f525",
        "new\nline",
        "tab\t",
        "\x7f\x01",
        "a'b",
        "#no comment",
        "[x]",
    ],
)
def test_any_text_reads_back(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["screen", "c", "--data", text, "--out", "o", "--parameter", f"A='{text}'"]
    assert main([*words, "--write-config"]) == 0
    shown = capsys.readouterr().out
    found = parser("screen").parse_args(["screen", "--config", written(tmp_path, shown)])
    assert (found.data, found.parameter) == ([text], [f"A='{text}'"])


def test_a_name_that_is_no_text_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["screen", "c", "--data", "\udcff", "--out", "o", "--write-config"]) == 2
    assert "cannot be written into a file of options" in capsys.readouterr().err


def test_a_run_by_a_file_is_the_run_by_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["screen", str(FLUTE / "mr"), "--data", str(FLUTE / "cohort"), "--now", "2026-06-01", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert main([*words, "--out", str(tmp_path / "b"), "--write-config"]) == 0
    path = written(tmp_path, capsys.readouterr().out)
    assert main(["screen", "--config", path]) == 0
    assert (tmp_path / "a" / "verdicts.ndjson").read_bytes() == (tmp_path / "b" / "verdicts.ndjson").read_bytes()

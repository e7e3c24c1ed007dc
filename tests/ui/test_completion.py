"""The tab key: commands, verbs, options and values are completed as a shell asks for them, and each shell gets a text that it can read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fhir_eligibility.ui.commands.cli import COMMANDS, main
from fhir_eligibility.ui.commands.completion import SHELLS, command_in


def completed(line: str, tmp_path: Path) -> set[str]:
    """What the program answers to a shell whose cursor stands at the end of a line."""
    out = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    program = "import sys; sys.argv[0] = 'eligibility'; from fhir_eligibility.ui.commands.cli import console; sys.exit(console())"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    return {word.strip() for word in out.read_text().split("\n") if word.strip()}


def test_commands(tmp_path: Path) -> None:
    assert completed("eligibility ", tmp_path) >= set(COMMANDS)
    assert completed("eligibility sc", tmp_path) == {"screen", "schema"}


def test_options_and_values(tmp_path: Path) -> None:
    assert completed("eligibility screen --max-", tmp_path) == {"--max-undetermined", "--max-problems"}
    assert completed("eligibility screen c --data d --absent ", tmp_path) == {"default", "unknown", "not-met"}
    assert completed("eligibility imaging ver", tmp_path) == {"verify"}
    assert completed("eligibility imaging verify r --dicomweb https://x --ign", tmp_path) == {"--ignore-endpoints"}
    assert completed("eligibility completion ", tmp_path) >= set(SHELLS)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "engine"))
    (tmp_path / "criteria-of-ours").mkdir()
    assert completed("eligibility screen crit", tmp_path) == {"criteria-of-ours/"}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_can_read_its_text(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "eligibility" in text and "_ARGCOMPLETE" in text
    program = shutil.which(shell)
    if program is not None:  # zsh and fish are not everywhere
        subprocess.run([program, "-n"], input=text, text=True, check=True, timeout=60)


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zhs"]) == 2
    assert "did you mean zsh?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("eligibility ", ""),
        ("eligibility sc", ""),
        ("eligibility screen ", "screen"),
        ("eligibility screen --da", "screen"),
    ],
)
def test_the_command_of_a_line(line: str, command: str) -> None:
    assert command_in(line) == command

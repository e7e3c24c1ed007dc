"""The wheel that the README tells to build is built, installed into a fresh environment, and screens the example cohort from another folder."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fhir_eligibility import __version__
from tests.docs.pages import ROOT, blocks, command_lines

# What pip says where it reaches no registry: the builder of the wheel comes from there.
OFFLINE = (
    "No matching distribution found for hatchling",
    "Could not find a version that satisfies the requirement hatchling",
)


def lines(word: str) -> list[str]:
    return [
        line
        for block in blocks("README.md")
        if block.kind == "commands"
        for line in command_lines(block.text)
        if word in line
    ]


@pytest.mark.slow
def test_a_wheel_is_enough(tmp_path: Path) -> None:
    (build,) = lines("pip wheel")
    (make,) = lines("-m venv")
    (install,) = lines("install dist/")
    (version,) = lines("--version")
    words = shlex.split(build)
    words[words.index("dist")] = str(tmp_path / "dist")
    built = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    if any(said in built.stderr for said in OFFLINE):
        pytest.skip("no registry is reached, and the builder of wheels comes from one")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert f"dist/{wheel.name}" in install
    subprocess.run([sys.executable, *shlex.split(make)[1:]], cwd=tmp_path, check=True)
    python = tmp_path / "trial-environment" / "bin" / "python"
    assert shlex.split(install)[0] == str(python.relative_to(tmp_path))
    # What the package depends on is that of this environment: nothing is fetched.
    given = [*shlex.split(install)[1:], "--no-deps", "--quiet", "--disable-pip-version-check"]
    subprocess.run([python, *given], cwd=tmp_path, check=True)
    site = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = tmp_path / "trial-environment" / "bin" / "eligibility"
    assert str(program.relative_to(tmp_path)) == shlex.split(version)[0]
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    assert subprocess.run([program, "--version"], **run).stdout == f"eligibility {__version__}\n"  # type: ignore[call-overload]
    where = subprocess.run([python, "-c", "import fhir_eligibility; print(fhir_eligibility.__file__)"], **run)  # type: ignore[call-overload]
    assert where.stdout.startswith(str(site))
    flute = tmp_path / "trial-environment" / "share" / "fhir-eligibility" / "criteria" / "flute"
    done = subprocess.run([program, "screen", flute / "mr", "--data", flute / "cohort", "--out", "results"], **run)  # type: ignore[call-overload]
    assert done.returncode == 0 and "included" in done.stdout, done.stderr
    assert "share/fhir-eligibility/docs" in subprocess.run([program, "--help"], **run).stdout  # type: ignore[call-overload]

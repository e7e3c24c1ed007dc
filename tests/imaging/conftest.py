"""Archives, the example cohort's images, and screening runs for the tests of this folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.output.lines import line_of
from tests.imaging.orthanc import Orthanc, need_orthanc
from tests.imaging.stub import Answerer, Reply, Stub

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("DICOMWEB_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The example cohort's images by patient (`example-01`)."""
    pytest.importorskip("pydicom")
    from criteria.flute.images import write

    out: dict[str, list[Path]] = {}
    for path in write(tmp_path_factory.mktemp("images")):
        out.setdefault(path.parent.name, []).append(path)
    return out


def _started(factory: pytest.TempPathFactory, name: str, password: bool) -> Iterator[Orthanc]:
    need_orthanc()
    pytest.importorskip("urllib3")
    orthanc = Orthanc(factory.mktemp(name), password=password)
    orthanc.start()
    yield orthanc
    orthanc.stop()


@pytest.fixture(scope="session")
def running_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    yield from _started(tmp_path_factory, "orthanc", False)


@pytest.fixture(scope="session")
def running_orthanc_with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    yield from _started(tmp_path_factory, "orthanc-password", True)


@pytest.fixture
def orthanc(running_orthanc: Orthanc, files: dict[str, list[Path]]) -> Orthanc:
    """An archive that holds the example cohort's images."""
    running_orthanc.hold_only("cohort", (path for found in files.values() for path in found))
    return running_orthanc


@pytest.fixture
def empty_orthanc(running_orthanc: Orthanc) -> Orthanc:
    running_orthanc.clear()
    return running_orthanc


@pytest.fixture
def orthanc_with_password(running_orthanc_with_password: Orthanc, files: dict[str, list[Path]]) -> Orthanc:
    running_orthanc_with_password.hold_only("cohort", (path for found in files.values() for path in found))
    return running_orthanc_with_password


@pytest.fixture
def stub() -> Iterator[Callable[[Answerer], Stub]]:
    """Makes stub archives; all are closed at the end."""
    pytest.importorskip("urllib3")
    made: list[Stub] = []

    def make(answer: Answerer = lambda asked: Reply()) -> Stub:
        made.append(Stub(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A screening run over the example cohort."""
    return screened(FLUTE / "cohort", tmp_path / "run")


def screened(data: Any, folder: Path, criteria: Path = FLUTE / "mr") -> Path:
    """A run of given data in a folder: its verdicts are all that the commands for images read."""
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = fhir_eligibility.screen(fhir_eligibility.load_criteria(criteria), data, now="2026-06-01")
    (folder / "verdicts.ndjson").write_text("".join(map(line_of, verdicts)))
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    """NDJSON."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def link_of(run: Path, patient: str) -> dict[str, Any]:
    """The imaging study of a patient in a run."""
    line = next(line for line in lines_of(run / "verdicts.ndjson") if line["patient"] == f"Patient/{patient}")
    return next(link for link in line["imaging"] if link["criterion"] == "images")  # type: ignore[no-any-return]

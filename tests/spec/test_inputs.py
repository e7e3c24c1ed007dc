"""A checkout alone runs the official suites: their archives are there, whole, small, and named in NOTICE with their licences."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests import inputs
from tests.inputs import archives, input_path, unpacked
from tests.inputs.pack import ARCHIVES, pack
from tests.spec.model import ROOT, Suite
from tests.spec.suites import SUITES

OURS = {"data-faults.zip"}


def test_only_the_measures_are_looked_for_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONFORMANCE_DIR", raising=False)
    monkeypatch.setattr("tests.spec.model.SHARED", tmp_path)
    missing = {suite.name: suite.missing() for suite in SUITES if suite.missing() is not None}
    why = f"{tmp_path}/ecqm/open is not there (it may not be handed on; SHARED_DIR names a folder that has it)"
    assert missing == {"ecqm": why, "ecqm-files": why}


def test_another_edition_is_read_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONFORMANCE_DIR", str(tmp_path))
    assert Suite("cql", "cql", lambda path: []).missing() == f"{tmp_path}/cql is not there (CONFORMANCE_DIR names it)"


def test_the_archives_are_those_that_the_program_writes_and_notice_names() -> None:
    assert {path.name for path in archives()} == set(ARCHIVES)
    notice = (ROOT / "NOTICE").read_text("utf-8")
    assert [name for name in ARCHIVES if name not in notice] == sorted(OURS)
    assert sum(path.stat().st_size for path in archives()) < 1_000_000


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_an_archive_is_written_again_with_the_same_content(name: str, tmp_path: Path) -> None:
    pack(unpacked(), ARCHIVES[name], tmp_path / name)

    def content(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as archive:
            return {item.filename: archive.read(item) for item in archive.infolist()}

    assert content(tmp_path / name) == content(inputs.HERE / name)


def test_an_input_comes_from_the_archives_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inputs, "SHARED", tmp_path)
    assert input_path("conformance", "cql").parent.parent == unpacked()
    assert input_path("flute", "expected.json") == tmp_path / "flute" / "expected.json"

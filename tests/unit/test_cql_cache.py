"""Compiled libraries kept on disk: the same values, and never those of another text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.algebra.diagnostic import Source
from engine.compiler.cql import cache as cache_module
from engine.compiler.cql.cache import CachingCompiler, default_folder
from engine.compiler.cql.compiled import Compiled, Compiler, Loaded
from engine.compiler.cql.runtime import Run

MAIN = """library Main version '1'
include Common version '1'
define Total: Sum({1, 2, 3}) + Common.Base
define Day: @2024-02-29 + 1 year
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def compiler(folder: Path | None, base: int = 10) -> CachingCompiler:
    common = Source("Common.cql", f"library Common version '1'\ndefine Base: {base}\n")
    found = CachingCompiler(lambda name, version: common if name == "Common" else None)
    found.folder = folder
    return found


def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of libraries that are compiled from now on, instead of loaded."""
    names: list[str] = []
    plain = Compiler.compile

    def noted(self: Compiler, source: Source) -> Compiled:
        names.append(source.name)
        return plain(self, source)

    monkeypatch.setattr(Compiler, "compile", noted)
    return names


def total(library: Compiled) -> Any:
    return Loaded(library).evaluate("Total", Run())


def test_a_library_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiler(folder).compile(Source("main.cql", MAIN))
    names = compiled_anew(monkeypatch)
    second = compiler(folder).compile(Source("main.cql", MAIN))
    assert names == []
    assert (total(first), total(second)) == (16, 16)
    assert str(Loaded(second).evaluate("Day", Run())) == "2025-02-28"
    assert second.text == first.text and second.includes["Common"].name == "Common"


def test_another_text_or_another_include_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    names = compiled_anew(monkeypatch)
    assert total(compiler(folder, base=20).compile(Source("main.cql", MAIN))) == 26
    assert names == ["Common.cql", "main.cql"]
    assert total(compiler(folder).compile(Source("main.cql", MAIN.replace("3}", "4}")))) == 17


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_broken_file_counts_as_absent(folder: Path, damage: bytes | None) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    for file in folder.glob("*.lib"):
        raw = file.read_bytes()
        file.write_bytes(raw[:-7] if damage is None else damage)
    assert total(compiler(folder).compile(Source("main.cql", MAIN))) == 16


def test_a_folder_that_others_can_write_to_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    folder.chmod(0o777)
    names = compiled_anew(monkeypatch)
    assert total(compiler(folder).compile(Source("main.cql", MAIN))) == 16
    assert "main.cql" in names


def test_the_folder_is_named_by_a_variable_or_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache_module.VARIABLE, str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.setenv(cache_module.VARIABLE, "off")
    assert default_folder() is None
    monkeypatch.delenv(cache_module.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "fhir-eligibility" / "cql"


def test_without_a_folder_nothing_is_kept() -> None:
    assert total(compiler(None).compile(Source("main.cql", MAIN))) == 16

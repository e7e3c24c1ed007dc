"""Compiled libraries kept on disk: the same values, and never those of another text."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError, Source
from fhir_eligibility.artifacts.models.modelinfo import ModelInfo
from fhir_eligibility.compiler.criteria import cache as cache_module
from fhir_eligibility.compiler.criteria.cache import CachingCompiler, default_folder, engine_files
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions
from fhir_eligibility.runners.measures.measuring import load_measure
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.ui.commands.cli import main

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
    plain = Compiler.compile_once

    def noted(self: Compiler, source: Source) -> Compiled:
        names.append(source.name)
        return plain(self, source)

    monkeypatch.setattr(Compiler, "compile_once", noted)
    return names


def total(library: Compiled) -> Any:
    return LoadedLibrary(library).evaluate("Total", Run())


def test_a_library_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiler(folder).compile(Source("main.cql", MAIN))
    names = compiled_anew(monkeypatch)
    second = compiler(folder).compile(Source("main.cql", MAIN))
    assert names == []
    assert (total(first), total(second)) == (16, 16)
    assert str(LoadedLibrary(second).evaluate("Day", Run())) == "2025-02-28"
    assert second.python == first.python and second.code == first.code and second.includes["Common"].name == "Common"


def test_another_text_or_another_include_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    names = compiled_anew(monkeypatch)
    assert total(compiler(folder, base=20).compile(Source("main.cql", MAIN))) == 26
    assert set(names) == {"Common.cql", "main.cql"}
    assert total(compiler(folder).compile(Source("main.cql", MAIN.replace("3}", "4}")))) == 17


def sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).digest() + body


def flipped(raw: bytes) -> bytes:
    return raw[:100] + bytes([raw[100] ^ 1]) + raw[101:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "garbage": lambda raw: b"garbage",
    "cut off": lambda raw: raw[:-7],
    "one bit": flipped,
    "no pickle": lambda raw: sealed(b"garbage"),
    "something else": lambda raw: sealed(pickle.dumps(("a", b"b", []))),
    "a class that is gone": lambda raw: sealed(b"cengine.nowhere\nGone\n."),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_file_counts_as_absent(folder: Path, damage: str) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    files = list(folder.glob("*.lib"))
    assert len(files) == 2
    whole = {file: file.read_bytes() for file in files}
    for file, raw in whole.items():
        file.write_bytes(DAMAGES[damage](raw))
    assert total(compiler(folder).compile(Source("main.cql", MAIN))) == 16
    assert {file: len(file.read_bytes()) for file in files} == {file: len(raw) for file, raw in whole.items()}


def test_a_file_that_others_can_write_to_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    for file in folder.glob("*.lib"):
        assert file.stat().st_mode & 0o077 == 0
        file.chmod(0o666)
    names = compiled_anew(monkeypatch)
    assert total(compiler(folder).compile(Source("main.cql", MAIN))) == 16
    assert set(names) == {"Common.cql", "main.cql"}


def test_what_belongs_to_others_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    names = compiled_anew(monkeypatch)
    monkeypatch.setattr(cache_module.os, "getuid", lambda: 4_000_000)
    assert total(compiler(folder).compile(Source("main.cql", MAIN))) == 16
    assert "main.cql" in names


def test_a_link_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder).compile(Source("main.cql", MAIN))
    for file in list(folder.glob("*.lib")):
        file.rename(file.with_suffix(".moved"))
        file.symlink_to(file.with_suffix(".moved"))
    names = compiled_anew(monkeypatch)
    assert total(compiler(folder).compile(Source("main.cql", MAIN))) == 16
    assert set(names) == {"Common.cql", "main.cql"}


def test_the_oldest_files_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEPT", 3)
    for number in range(5):
        compiler(folder).compile(Source("main.cql", MAIN.replace("3}", f"{number}}}")))
    assert len(list(folder.iterdir())) == 3


def test_no_file_of_anyone_else_is_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEPT", 1)
    folder.mkdir(mode=0o700)
    digest = "0123456789abcdef" * 4
    others = {
        "thesis.docx",
        "my.lib",
        "tmpab12.part",
        f"{digest}.txt",
        f"{digest[:-1]}.lib",
        f"{digest.upper()}.lib",
        f"x{digest}.lib",
    }
    others.add(f"{digest}.lib.bak")
    for name in others:
        (folder / name).write_text("mine")
        os.utime(folder / name, (0, 0))
    (folder / f"{digest[::-1]}.lib").mkdir()
    for number in range(4):
        compiler(folder).compile(Source("main.cql", MAIN.replace("3}", f"{number}}}")))
    left = {path.name for path in folder.iterdir()}
    assert left >= others | {f"{digest[::-1]}.lib"}
    assert len(left - others) == 2  # the folder, and the one library that is kept


def test_what_killed_writers_left_goes_and_what_is_being_written_stays(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    abandoned, written = folder / f"{'a' * 64}.x1y2.part", folder / f"{'b' * 64}.x1y2.part"
    abandoned.write_bytes(b"half")
    written.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    compiler(folder).compile(Source("main.cql", MAIN))
    assert not abandoned.exists()
    assert written.exists()


@pytest.mark.parametrize("change", ["engine", "version", "model", "options", "traced", "name"])
def test_what_a_library_depends_on_is_in_its_key(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    model = ModelInfo("M", "1", "u", None, None, {}, "digest")
    plain = CachingCompiler(model_infos=[model])
    source = Source("main.cql", MAIN)
    before = plain.key(source)
    assert CachingCompiler(model_infos=[replace(model)]).key(source) == before
    if change == "engine":
        monkeypatch.setattr(cache_module, "engine_files", lambda: "other")
    elif change == "version":
        monkeypatch.setattr(cache_module, "__version__", "0.0.0")
    other = {
        "model": CachingCompiler(model_infos=[replace(model, digest="another")]),
        "options": CachingCompiler(options=TranslationOptions(list_demotion=True), model_infos=[model]),
        "traced": CachingCompiler(model_infos=[model], traced=True),
    }.get(change, plain)
    assert other.key(Source("other.cql", MAIN) if change == "name" else source) != before


def test_the_files_of_the_program_are_known_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compiler").mkdir()
    file = tmp_path / "compiler" / "parser.py"
    file.write_text("a = 1\n")
    monkeypatch.setattr(cache_module, "_ENGINE", tmp_path)
    seen = []
    for change in (lambda: None, lambda: os.utime(file, (1, 1)), lambda: file.write_text("a = 10\n")):
        change()
        engine_files.cache_clear()
        seen.append(engine_files())
    engine_files.cache_clear()
    assert len(set(seen)) == 3


def test_spans_of_a_kept_library_mean_the_text_at_hand(folder: Path) -> None:
    text = "define Fails: singleton from { 1, 2 }\ndefine Old: timezone from @2024-01-01T00:00:00.000+01:00\n"
    compiler(folder).compile(Source("main.cql", text))
    source = Source("main.cql", text)
    kept = compiler(folder).compile(source)
    assert kept.source is source
    assert [d.source is source for d in kept.diagnostics] == [True]
    with pytest.raises(EvaluationError) as raised:
        LoadedLibrary(kept).evaluate("Fails", Run())
    assert raised.value.source is source and raised.value.define == "Fails"


def _compile_and_evaluate(folder: str, barrier: Any, answers: Any) -> None:
    barrier.wait()
    for _ in range(8):
        answers.put(total(compiler(Path(folder)).compile(Source("main.cql", MAIN))))
        for file in list(Path(folder).glob("*.lib"))[:1]:
            file.unlink(missing_ok=True)  # so that the others write it again


def test_many_writers_at_once(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    writers = [context.Process(target=_compile_and_evaluate, args=(str(folder), barrier, answers)) for _ in range(3)]
    for writer in writers:
        writer.start()
    found = [answers.get(timeout=120) for _ in range(24)]
    for writer in writers:
        writer.join()
    assert found == [16] * 24 and [writer.exitcode for writer in writers] == [0, 0, 0]
    assert list(folder.glob("*.part")) == []


CRITERIA = Path(__file__).resolve().parents[2] / "criteria" / "flute" / "cql"


def test_criteria_and_measures_are_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_module.VARIABLE, str(folder))
    first = load_criteria(CRITERIA / "mr", libraries=[CRITERIA])
    load_measure(CRITERIA / "FluteCriteria.cql")
    assert list(folder.glob("*.lib"))
    compiled = []
    monkeypatch.setattr(Compiler, "compile_once", lambda self, source: compiled.append(source.name))
    again = load_criteria(CRITERIA / "mr", libraries=[CRITERIA])
    load_measure(CRITERIA / "FluteCriteria.cql")
    assert compiled == []
    assert [rule.code.compiled.code for r in again.rules for rule in r.walk() if rule.code is not None] == [
        rule.code.compiled.code for r in first.rules for rule in r.walk() if rule.code is not None
    ]
    assert [str(d) for d in again.diagnostics] == [str(d) for d in first.diagnostics]


def test_commands_use_the_cache_unless_it_is_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = str(CRITERIA / "FluteCriteria.cql")
    assert main(["compile", library]) == 0
    assert not folder.exists()
    monkeypatch.setenv(cache_module.VARIABLE, str(folder))
    assert main(["compile", library]) == 0
    kept = sorted(folder.glob("*.lib"))
    assert kept
    assert main(["cql", "1 + 1", "--library", library]) == 0
    assert sorted(folder.glob("*.lib")) == kept  # one expression is not worth keeping
    assert "2  (Integer)" in capsys.readouterr().out


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

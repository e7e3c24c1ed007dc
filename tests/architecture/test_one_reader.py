"""Patients' data comes from files in one way: no module opens them, unpacks them or decodes their text by itself besides those that are that way.

What each module may do is named here with the reason; what is no longer needed fails too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("data", "evaluation", "output", "runners", "ui")
"""The folders below criteria and compiler, where patients' data passes."""
READER = frozenset(
    (
        "data/files/opening.py",
        "data/files/zips.py",
        "data/files/json_text.py",
        "data/files/forms.py",
        "data/records/values.py",
        "data/bulk/decoding.py",
        "data/bulk/documents.py",
        "data/bulk/scanning.py",
        "data/bulk/pieces.py",
    )
)
"""The one way: bytes of files, what is packed, the form in which values stand, values."""
OPENING = frozenset(("open", "read_bytes", "read_text", "FileIO", "ZipFile", "decompressobj", "BZ2File", "LZMAFile"))
DECODING = frozenset(("loads", "load", "decode_lines", "raw_decode"))
PACKERS = frozenset(("gzip", "bz2", "lzma", "zlib", "zipfile", "tarfile", "isal", "zstandard"))
ALLOWED = {
    # what the program wrote itself
    "data/bulk/blocks.py": "what an earlier run kept of blocks of the data",
    "data/bulk/name_index.py": "an index in a workspace",
    "data/bulk/records.py": "sections of a workspace",
    "data/bulk/sifting.py": "a line that the reader set aside, once more",
    "evaluation/imaging.py": "UIDs that the reader made a text of",
    "evaluation/records.py": "a verdict that was encoded here",
    "output/atomic.py": "writes outputs",
    "output/checks.py": "records of checks",
    "output/criteria_record.py": "criteria and verdicts of a run",
    "output/earlier_versions.py": "the record of an earlier run",
    "output/folder.py": "writes outputs",
    "output/lock.py": "the lock of an output folder",
    "output/measure_totals.py": "results of a measure",
    "output/formats/base.py": "verdicts of a run",
    "output/pseudonymous.py": "UIDs that the reader made a text of",
    "output/pseudonyms.py": "a key, and a list of codes",
    "runners/large/earlier.py": "fingerprints and verdicts of an earlier run",
    "runners/imaging/images.py": "verdicts of a run",
    "runners/large/judged_file.py": "a workspace",
    "runners/large/taken_file.py": "a workspace",
    "runners/measures/measure_work.py": "results of a measure",
    "runners/large/problem_runs.py": "a workspace",
    "runners/large/questions.py": "a workspace",
    "runners/screening/screening.py": "the sum of a file, for run.json",
    "runners/screening/taking.py": "verdicts of an earlier run",
    "runners/large/workers.py": "an error on its way between processes",
    "runners/large/workspace.py": "a workspace",
    "runners/large/whole_files.py": "a workspace",
    "ui/terminal/logs.py": "writes a log",
    # what is no patient's data
    "data/files/export_manifest.py": "the manifest of an export, opened by the reader",
    "data/records/record_shape.py": "looks at records once more that the reader decoded, for members that decoding drops",
    "data/records/remains.py": "makes a text whole again, in trials, that the reader could not decode",
    "data/terminology/files.py": "terminology",
    "data/terminology/server.py": "answers of a terminology server",
    "runners/large/machine.py": "what the system says of its memory",
    "runners/measures/measuring.py": "a Measure",
    "ui/options/config_file.py": "options",
    "ui/commands/cql.py": "a library",
    # what servers and archives send
    "data/archives/multipart.py": "DICOM files",
    "data/archives/qido.py": "answers of an archive",
    "data/archives/stow.py": "answers of an archive",
    "data/archives/wado.py": "DICOM files",
    "data/http/credentials.py": "a token or a password",
    "data/records/outcomes.py": "answers of servers",
    "data/server/client.py": "answers of servers",
    "data/server/download.py": "a download, as it was encoded",
    "data/server/export.py": "answers of servers",
    "data/server/folder.py": "the state of an export",
    "data/server/smart.py": "keys and tokens",
}


def uses(path: Path) -> list[str]:
    """Each place where a module opens a file, decodes JSON by itself, or knows how files are packed."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                found += [f"import {one.name}" for one in names if one.name.partition(".")[0] in PACKERS]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in PACKERS:
                found.append(f"from {module}")
            case ast.Call(func=ast.Name(id=name)) if name in OPENING:
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in OPENING | DECODING:
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(value=owner, attr="decode")) if ast.unparse(owner) in DECODERS:
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(attr="Decoder", value=owner)) if "json" in ast.unparse(owner):
                found.append(ast.unparse(node))
    return found


DECODERS = frozenset(("msgspec.json", "json", "orjson"))


def by_module() -> dict[str, list[str]]:
    modules = (
        path for folder in FOLDERS for path in sorted((ROOT / "engine" / "fhir_eligibility" / folder).rglob("*.py"))
    )
    return {
        str(path.relative_to(ROOT / "engine" / "fhir_eligibility")): found for path in modules if (found := uses(path))
    }


def test_nothing_reads_patients_data_besides_the_reader() -> None:
    found = {name: listed for name, listed in by_module().items() if name not in READER}
    assert {name: listed for name, listed in found.items() if name not in ALLOWED} == {}


def test_every_exception_is_needed() -> None:
    assert (ALLOWED.keys() | READER) - by_module().keys() - WITHOUT_USES == set()


WITHOUT_USES = frozenset(("data/files/forms.py", "data/records/values.py", "data/bulk/reading.py"))
"""Parts of the reader that use others of it."""


@pytest.mark.parametrize(
    "text",
    [
        "import gzip",
        "from zipfile import ZipFile",
        "open(path)",
        "path.open('rb')",
        "Path(path).read_bytes()",
        "io.FileIO(path)",
        "os.open(path, os.O_RDONLY)",
        "json.loads(text)",
        "json.load(stream)",
        "msgspec.json.decode(text)",
        "msgspec.json.Decoder(float_hook=number)",
        "orjson.loads(text)",
    ],
)
def test_the_rule_sees_every_way(tmp_path: Path, text: str) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert uses(file)

"""The house: a folder of `fhir_eligibility` imports only from the folders above it, without circles, and files stay short.

What each rule excepts is named here, and an exception that is no longer needed fails too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.imports import PACKAGE, ROOT, SOURCE, Module, circles, read_modules

# From the top of the house to its bottom.
FOLDERS = ("algebra", "artifacts", "compiler", "data", "evaluation", "output", "runners", "ui")
# Modules beside the folders that every folder may import, because they import nothing of ours themselves.
ROOF = frozenset(("fhir_eligibility.version",))
# Heavy and only sometimes needed: these may be imported inside a function.
OPTIONAL = frozenset(
    (
        "argcomplete",
        "cryptography",
        "fhir",
        "jwt",
        "prompt_toolkit",
        "pyarrow",
        "pydicom",
        "rich",
        "urllib3",
    )
)
# Of ours, what only some options need and what costs as much to load: by the module that loads it.
LATE = frozenset(
    (
        ("fhir_eligibility.algebra.operators.string", "fhir_eligibility.algebra.operators.matching"),
        ("fhir_eligibility.data.terminology.files", "fhir_eligibility.data.terminology.server"),
        ("fhir_eligibility.runners.screening.run", "fhir_eligibility.runners.screening.confirming_work"),
        ("fhir_eligibility.ui.commands.cli", "fhir_eligibility.ui.commands.completion"),
        ("fhir_eligibility.ui.commands.cli", "fhir_eligibility.ui.options.config_file"),
        ("fhir_eligibility.ui.commands.cli", "fhir_eligibility.ui.terminal.logs"),
        ("fhir_eligibility.ui.options.command_parser", "fhir_eligibility.ui.options.config_file"),
        ("fhir_eligibility.ui.commands.screen", "fhir_eligibility.ui.commands.cql_session"),
        ("fhir_eligibility.ui.commands.screen", "fhir_eligibility.ui.commands.screen_archives"),
        ("fhir_eligibility.ui.sources.server", "fhir_eligibility.runners.server.fetching"),
        ("fhir_eligibility.ui.sources.server", "fhir_eligibility.ui.options.server_access"),
    )
)
# Generated tables may be long; nothing else may.
LONG_FILES: frozenset[str] = frozenset()
MAX_LINES = 500
# `import fhir_eligibility` is on the way of every script and worker process: none of these may come with it.
HEAVY = (
    "argcomplete",
    "cryptography",
    "jwt",
    "fhir",
    "fhir_core",
    "prompt_toolkit",
    "pydicom",
    "regex",
    "rich",
    "urllib3",
    "pytest",
    "lxml",
    "fhirpathpy",
    "hypothesis",
    "IPython",
    "numpy",
    "pandas",
)

MODULES = read_modules()


def folder(module: str) -> str | None:
    """The folder of the house that a module is in; None for `fhir_eligibility` itself, which stands below all of them."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 and parts[1] in FOLDERS else None


def points_down(source: str, target: str) -> bool:
    """Whether an import goes from a folder to one below it (or to the package's front door)."""
    above, below = folder(source), folder(target)
    if above is None or target in ROOF:
        return False
    return below is None or FOLDERS.index(below) > FOLDERS.index(above)


def is_ours(target: str) -> bool:
    return target.partition(".")[0] == PACKAGE


def test_every_folder_is_known() -> None:
    found = {path.parent.name for path in (SOURCE / PACKAGE).glob("*/__init__.py")}
    assert found == set(FOLDERS)


def test_imports_point_up() -> None:
    down = [
        f"{module.path.relative_to(ROOT)}:{i.line} {module.name} imports {i.target}"
        for module in MODULES.values()
        for i in module.imports
        if is_ours(i.target) and points_down(module.name, i.target)
    ]
    assert down == []


def test_what_stands_above_the_folders_imports_nothing_of_ours() -> None:
    assert [i for name in ROOF for i in MODULES[name].imports if is_ours(i.target)] == []


def test_no_circles() -> None:
    graph = {
        name: {i.target for i in module.imports if i.target in MODULES and i.target != name}
        for name, module in MODULES.items()
    }
    assert circles(graph) == []


def test_imports_stand_at_the_top() -> None:
    inside = [
        f"{module.path.relative_to(ROOT)}:{i.line} imports {i.target} in a function"
        for module in MODULES.values()
        for i in module.imports
        if i.inside and i.target.partition(".")[0] not in OPTIONAL and (module.name, i.target) not in LATE
    ]
    assert inside == []
    seen = {(module.name, i.target) for module in MODULES.values() for i in module.imports if i.inside}
    assert seen >= LATE, "an exception that is no longer needed"


def test_files_are_short() -> None:
    long = {str(m.path.relative_to(ROOT)): m.lines for m in MODULES.values() if m.lines > MAX_LINES}
    assert {path: lines for path, lines in long.items() if path not in LONG_FILES} == {}
    assert set(long) >= LONG_FILES, "an exception that is no longer needed"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(module.path.relative_to(ROOT))
        for module in MODULES.values()
        if module.lines and not module.path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_import_of_the_package_is_light() -> None:
    code = f"import sys, fhir_eligibility; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# The rules themselves, on a package made for the purpose.


@pytest.fixture
def house(tmp_path: Path) -> dict[str, Module]:
    files = {
        "fhir_eligibility/__init__.py": "from fhir_eligibility.ui import cli\n",
        "fhir_eligibility/algebra/__init__.py": "",
        "fhir_eligibility/algebra/value.py": "from ..data import reader\nimport json\n",
        "fhir_eligibility/data/__init__.py": "",
        "fhir_eligibility/data/reader.py": "from fhir_eligibility.algebra.value import Value\n",
        "fhir_eligibility/ui/__init__.py": "",
        "fhir_eligibility/ui/cli.py": "def main():\n    import rich.table\n    from fhir_eligibility.data.reader import x\n",
        "fhir_eligibility/ui/late.py": 'A, B = "fhir_eligibility.data.reader", "fhir_eligibility.ui"\nC = "json"\ndef f():\n    import_module(A).x\n    import_module(C)\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return read_modules(tmp_path)


def test_relative_imports_and_names_are_resolved(house: dict[str, Module]) -> None:
    assert [i.target for i in house["fhir_eligibility.algebra.value"].imports] == [
        "fhir_eligibility.data.reader",
        "json",
    ]
    assert [i.target for i in house["fhir_eligibility.data.reader"].imports] == ["fhir_eligibility.algebra.value"]


def test_imports_in_functions_are_seen(house: dict[str, Module]) -> None:
    assert [(i.target, i.line, i.inside) for i in house["fhir_eligibility.ui.cli"].imports] == [
        ("rich.table", 2, True),
        ("fhir_eligibility.data.reader", 3, True),
    ]


def test_imports_by_a_name_for_a_text_are_seen(house: dict[str, Module]) -> None:
    assert [(i.target, i.line, i.inside) for i in house["fhir_eligibility.ui.late"].imports] == [
        ("fhir_eligibility.data.reader", 4, True),
        ("json", 5, True),
    ]


def test_directions() -> None:
    assert points_down("fhir_eligibility.algebra.value", "fhir_eligibility.data.reader")
    assert points_down("fhir_eligibility.ui.cli", "fhir_eligibility")
    assert not points_down("fhir_eligibility.data.reader", "fhir_eligibility.algebra.value")
    assert not points_down("fhir_eligibility.data.reader", "fhir_eligibility.data.problems")
    assert not points_down("fhir_eligibility", "fhir_eligibility.ui.cli")


def test_circles_are_found(house: dict[str, Module]) -> None:
    graph = {name: {i.target for i in m.imports if i.target in house} for name, m in house.items()}
    assert circles(graph) == [["fhir_eligibility.algebra.value", "fhir_eligibility.data.reader"]]

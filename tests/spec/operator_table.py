"""`python -m tests.spec.operator_table`: writes docs/operators.md from the operators and the official cases that exercise them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.algebra.operators.registry import FORMS, Operator
from fhir_eligibility.algebra.operators.table import CHAPTERS, OPERATORS
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.fhirpath import translate_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiler
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.emit.handlers import EACH, VALUES
from tests.spec import cql_suite, fhirpath_suite
from tests.spec.fhirpath_cases import read_cases as read_fhirpath
from tests.spec.headings import PAGES, address, headings
from tests.spec.model import ROOT

_CALL = re.compile(r"\b([A-Za-z]+)\(")
FILE = ROOT / "docs" / "operators.md"
HEAD = """# Operators

Every operator has one implementation, under its ELM name, for CQL and FHIRPath.
Where the two specifications differ, a signature is marked with the language that has it.
Behind the operators on values stand the functions of FHIRPath that take expressions or types, or work on collections, what CQL writes behind an input, and the
expressions of CQL that are no operators.
Cases are those of the official suites whose expression uses the operator: how many, and some by name.
Written by `make docs`.
"""


def cases_by_operator() -> dict[str, list[str]]:
    """The official cases that use each operator; empty where the suites are not there."""
    found: dict[str, list[str]] = defaultdict(list)
    suite = cql_suite.SUITES[0]
    compiler = Compiler()
    for case in cql_suite.read_cases(suite.path()) if suite.missing() is None else ():
        try:
            typed = compiler.typed(Source(case.name, f"define expression: {case.expression}"))
        except DiagnosticError:
            continue
        for define in typed.defines:
            for kind in sorted({node.kind for node in define.node.walk()}) if define.node is not None else ():
                found[kind].append(case.name)
    other = fhirpath_suite.SUITES[0]
    model = load_model("r4")
    for item in read_fhirpath(other.path()) if other.missing() is None else ():
        try:
            node, _ = translate_fhirpath(Source(item.name, item.expression), model, lenient=True)
        except DiagnosticError:
            continue
        for kind in sorted({below.kind for below in node.walk()}):
            if kind in OPERATORS:
                found[kind].append(f"fhirpath {item.name}")
        for function in sorted(set(_CALL.findall(item.expression))):
            found[f"{function}()"].append(item.name)
    return found


def table(cases: dict[str, list[str]] | None) -> str:
    """The whole page; without cases the columns that tell of them are left as they are in the file."""
    lines = [HEAD]
    for chapter in CHAPTERS:
        name = chapter.__name__.rpartition(".")[2]
        own = [
            op for op in OPERATORS.values() if op.overloads and op.overloads[0].function.__module__ == chapter.__name__
        ]
        own += [op for op in OPERATORS.values() if op not in own and _chapter(op) == name]
        if not own:
            continue
        lines += [
            f"\n## {name.capitalize()}\n",
            "| operator | CQL | FHIRPath | signatures | specification | official cases |",
        ]
        lines.append("|---|---|---|---|---|---|")
        lines += [row(op, cases) for op in sorted(own, key=lambda op: op.name)]
    lines += functions(cases) + methods() + expressions(cases)
    return "\n".join(lines) + "\n"


def functions(cases: dict[str, list[str]] | None) -> list[str]:
    """FHIRPath's functions beside the operators on values."""
    lines = ["\n## Functions of FHIRPath\n", "| function | specification | official cases |", "|---|---|---|"]
    for (language, name), form in sorted(FORMS.items()):
        if language == "fhirpath":
            title, link = heading(form.section)
            shown = f"{title or name}".replace("|", "\\|")
            told = f"not supported: {form.refused}" if form.refused else link
            lines.append(
                "| " + " | ".join([f"`{name}` {shown.removeprefix(name)}", told, *_cases(cases, f"{name}()")]) + " |"
            )
    return lines


def heading(section: str) -> tuple[str, str]:
    """The title of a section, empty where it is of FHIR or of no specification (`own`), and a link to it."""
    if section == "own":
        return "", "none: a function of this program"
    if section == "FHIR":
        return "", "[FHIR: Additional functions](https://hl7.org/fhir/fhirpath.html#functions)"
    target = address(section)
    title = next(one.title for one in headings() if f"{PAGES[one.page]}#{one.anchor}" == target)
    return title, f"[{section}]({target})"


def methods() -> list[str]:
    """What CQL writes behind an input."""
    names = sorted(name for language, name in FORMS if language == "cql")
    link = "[appendix I](https://cql.hl7.org/16-i-fhirpathtranslation.html)"
    return [
        "\n## Written behind an input in CQL\n",
        f"As {link} of CQL translates FHIRPath's functions: " + ", ".join(f"`{name}`" for name in names) + ".",
    ]


def expressions(cases: dict[str, list[str]] | None) -> list[str]:
    """The expressions of CQL that are no registered operators."""
    lines = ["\n## Expressions of CQL\n", "| expression | what it is | official cases |", "|---|---|---|"]
    chapters = (n.Literal.__module__, n.Query.__module__)  # FHIRPath's steps stand in another
    emitted = {kind for kind in {*VALUES, *EACH} if not isinstance(kind, str) and kind.__module__ in chapters}
    for kind in sorted(emitted, key=lambda one: one.__name__):
        name = kind.elm or kind.__name__
        told = (kind.__doc__ or "").split("\n")[0].replace("|", "\\|")
        lines.append("| " + " | ".join([f"`{name}`", told, *_cases(cases, name)]) + " |")
    return lines


def _cases(cases: dict[str, list[str]] | None, name: str) -> list[str]:
    if cases is None:
        return []
    names = cases.get(name, [])
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [f"{len(names)}: {shown}" if names else "none"]


def _chapter(op: Operator) -> str:
    """The chapter of an operator whose functions stand outside the chapters (those of `fhir_eligibility.algebra.values.interval`)."""
    if any(op.overloads[0].function.__module__ == chapter.__name__ for chapter in CHAPTERS):
        return ""
    return "intervals"


def row(op: Operator, cases: dict[str, list[str]] | None) -> str:
    """One operator as a line of the table."""
    surface = [", ".join(_shown(x) for x in names) or " " for names in (op.cql, op.fhirpath)]
    signatures = "<br>".join(f"`{o.signature}`" + (f" {o.language}" if o.language else "") for o in op.overloads)
    cells = [f"`{op.name}`", *surface, signatures.replace("|", "\\|"), link(op)]
    cells += _cases(cases, op.name)
    return "| " + " | ".join(cells) + " |"


def _shown(name: str) -> str:
    return f"`{name.replace('_', ' ')}`".replace("|", "\\|")


def link(op: Operator) -> str:
    """The section of the specification."""
    if not op.section:
        return " "
    return f"[{op.section}]({address(op.section)})"


def without_cases(text: str) -> list[str]:
    """The lines of the page without the last column."""
    return [line.rpartition(" | ")[0] if line.startswith("| `") else line for line in text.splitlines()]


def main(path: Path = FILE) -> int:
    path.parent.mkdir(exist_ok=True)
    path.write_text(table(cases_by_operator()), "utf-8")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""docs/api.md has each name that `import fhir_eligibility` offers, with its signature, and nothing else."""

from __future__ import annotations

import inspect
import re
from enum import EnumType
from typing import Any

import pytest
from pydantic import BaseModel

import fhir_eligibility
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
SECTIONS = {
    part.partition("\n")[0]: part.partition("\n")[2] for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
}
PLAIN = (str, int, float, bool, tuple, type(None))


def signature_of(name: str, value: Any) -> str:
    """The names and the plain defaults of what a call takes; the fields of a record and the members of a closed list likewise."""
    if isinstance(value, EnumType):
        return f"{name}({', '.join(value.__members__)})"
    if isinstance(value, type) and issubclass(value, BaseModel):
        return f"{name}({', '.join(value.model_fields)})"
    parts = []
    stars = False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name.startswith("_"):
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            parts.append(f"*{parameter.name}")
            stars = True
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not stars:
            parts.append("*")
            stars = True
        default = parameter.default
        given = "" if default is parameter.empty else f"={default!r}" if type(default) in PLAIN else "=..."
        parts.append(parameter.name + given)
    return f"{name}({', '.join(parts)})"


def test_the_page_has_the_names_that_are_exported() -> None:
    assert set(SECTIONS) == set(fhir_eligibility.__all__)


@pytest.mark.parametrize("name", sorted(set(fhir_eligibility.__all__) - {"__version__"}))
def test_signatures(name: str) -> None:
    assert re.findall(r"^`(\w+\(.*\))`$", SECTIONS[name], re.MULTILINE) == [
        signature_of(name, getattr(fhir_eligibility, name))
    ]


@pytest.mark.parametrize("name", sorted(fhir_eligibility.__all__))
def test_each_name_has_an_example_with_what_it_prints(name: str) -> None:
    example = re.search(r"```python\n(.*?)```\n\n```text\n(.+?)```", SECTIONS[name], re.DOTALL)
    assert example is not None
    assert name in example[1] or name in ("Criteria", "Compartment", "Verdict", "Problem")


def test_what_a_function_raises_is_said() -> None:
    for name in fhir_eligibility.__all__:
        said = set(re.findall(r"\b(\w+Error)\b", inspect.getdoc(getattr(fhir_eligibility, name)) or ""))
        assert said <= set(re.findall(r"`(\w+Error)`", PAGE)), name

"""Elements that define a characteristic and have no form yet. `python -m tests.compiler.forms.without_form` lists them."""

from __future__ import annotations

from collections.abc import Iterator

from fhir_eligibility.artifacts.characteristics import _READ
from fhir_eligibility.artifacts.models import VERSIONS, load_model
from fhir_eligibility.compiler.forms.registry import forms


def definitions(version: str) -> Iterator[str]:
    """The elements of EvidenceVariable.characteristic that define it, by their JSON names."""
    for element in load_model(version).elements("EvidenceVariable.characteristic").values():
        for name, _ in element.json_names:
            if name.startswith("definition"):
                yield name


def without_form(version: str) -> list[str]:
    """Those of them that neither become records of their own nor have a form: a characteristic with one is `not-computable`."""
    return [name for name in definitions(version) if name not in _READ and name not in forms()]


if __name__ == "__main__":
    for each in VERSIONS:
        print(f"{each}: {', '.join(without_form(each)) or 'none'}")

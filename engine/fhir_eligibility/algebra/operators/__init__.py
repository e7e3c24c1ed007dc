"""The operators of both languages, a chapter a file. The package imports every chapter, always in one order: the order of an operator's overloads must
not depend on which chapter a process needed first.

May not know: languages beyond the names by which they call an operator, FHIR, patients.
Start with `registry.py` (what an operator says of itself), then a chapter such as `comparison.py`; `table.py` lists the chapters.
"""

from fhir_eligibility.algebra.operators.table import CHAPTERS, OPERATORS

__all__ = ["CHAPTERS", "OPERATORS"]

"""The operators of both languages, a chapter a file. The package imports every chapter, always in one order: the order of an operator's overloads must
not depend on which chapter a process needed first."""

from fhir_eligibility.algebra.operators.table import CHAPTERS, OPERATORS

__all__ = ["CHAPTERS", "OPERATORS"]

"""How the translation of a sub-expression ends that has a mistake."""

from __future__ import annotations


class Abort(Exception):
    """A sub-expression cannot be translated; the reason is among the diagnostics."""

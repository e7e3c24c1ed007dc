"""Criteria to Python: FHIRPath, CQL, ELM JSON and coded forms, each to a tree, and the tree to a module of Python that is checked before it
runs.

May not know: files of patients, verdicts, outputs. What an author wrote reaches emitted code only as constants.
Start with `criteria/rules.py` (a definition to a rule set), then `emit/emitter.py` and `emit/guard.py`; the folders in the order of
what becomes of a text are `syntax/`, `elm/`, `translate/`, `analysis/`, `emit/`, `runtime/`.
"""

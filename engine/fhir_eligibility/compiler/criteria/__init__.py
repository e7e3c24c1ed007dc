"""A definition to compiled rules: expressions and libraries compiled, kept, and what they read of patients put together.

May not know: files of patients, verdicts, outputs. Other folders enter the compiler here.
Start with `rules.py`, then `reading.py`.
"""

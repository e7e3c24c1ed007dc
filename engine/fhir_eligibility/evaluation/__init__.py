"""One compiled rule set and one patient to a verdict, with the reasons for unknown, the evidence, and the images.

May not know: files, folders, processes, commands. It is pure: the clock, references and value sets are resolved before.
Start with `verdict.py` (what comes out), then `evaluator.py` (how), and `unknowns.py` for "why was this patient undetermined?".
"""

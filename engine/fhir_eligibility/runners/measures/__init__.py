"""Measures over a cohort: a report a patient, and totals.

May not know: the command line.
Start with `measuring.py`, then `measure_run.py`.
"""

"""Exports from FHIR servers, and what to ask a server for.

May not know: the command line.
Start with `export.py`.
"""

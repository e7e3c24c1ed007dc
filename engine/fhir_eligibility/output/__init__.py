"""Verdicts and measures to bytes: JSON lines, tables, FHIR Groups and MeasureReports, Parquet, pseudonyms, and the folder that they appear in whole.

May not know: how patients are read or judged, commands. Nothing appears half written.
Start with `folder.py` (how outputs appear), then `summary.py` and `fhir_group.py` (two formats).
"""

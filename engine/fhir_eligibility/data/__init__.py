"""Bytes to resources, and resources to patients, from files, bundles, exports, FHIR servers; archives of images; value sets.

May not know: verdicts, outputs, commands. Every file, entry and line is used, not needed, or a problem.
Start with `patients/compartment.py` (a patient), then `patients/reader.py` (small data) and `bulk/reading.py` (large data);
`records/identity.py` and `records/subjects.py` say whose a record is.
"""

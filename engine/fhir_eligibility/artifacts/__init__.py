"""Published artifacts (EvidenceVariable, Group, ResearchStudy, Library, ValueSet, Measure) to neutral records, strictly read.

May not know: how a criterion is compiled, patients, files of data. An element that the standard does not have is an error with a hint.
Start with `records.py` (what comes out), then `reader.py` (what goes in); `models/` holds what the versions of FHIR define.
"""

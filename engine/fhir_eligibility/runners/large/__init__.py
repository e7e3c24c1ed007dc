"""Work on more patients than memory holds: pieces of the input, worker processes, buckets on disk, runs that go on.

May not know: what is found out about a patient.
Start with `bulk.py` and `workspace.py`.
"""

"""Where `eligibility screen --data` finds patients: files, a FHIR server. A module here that has a SOURCE is one; it is listed nowhere else.

May not know: criteria, beyond handing them on, and the commands.
Start with `base.py` (what a source says of itself, and what it gives), then `files.py` and `server.py`.
"""

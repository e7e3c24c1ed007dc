"""The images behind verdicts: archives asked, files fetched, pictures shown.

May not know: criteria: verdicts are read as they were written.
Start with `verify.py`, then `fetch.py`.
"""

"""Paths to bytes, and bytes to JSON values: which files are data, how they are packed, in which form resources stand there.

May not know: patients, and what a resource says.
Start with `listing.py` and `opening.py`, then `json_text.py`.
"""

"""What one record says by itself: its type and shape, whose it is, which version counts, what leaves it in doubt.

May not know: the other records of a patient.
Start with `sources.py` and `identity.py`, then `record_shape.py`.
"""

"""ELM JSON, read and written.

May not know: emitted code, patients.
Start with `reader.py` and `writer.py`.
"""

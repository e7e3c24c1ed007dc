"""Further files of a run, each by an option of its own, made from its verdicts when all are written: Parquet tables.

May not know: how patients are read or judged, commands, and one another. A module here that has a FORMAT is a format; it is listed nowhere else.
Start with `base.py` (what a format says of itself, and what it is given), then `parquet.py`.
"""

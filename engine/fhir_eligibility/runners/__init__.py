"""Many patients: screening in memory and over large exports by processes, measures, archives of images, exports from servers; stopped and resumed.

May not know: options of the command line, what stands on a terminal. Whatever way patients come, the verdicts are the same.
Start with `screening/screening.py` (lazily, in Python), then `screening/run.py` (into a folder) and `large/bulk.py` (large exports).
"""

"""The typed tree to Python: functions, loops, early exit, and the guard that refuses what emitters do not write.

May not know: the text that authors write, patients.
Start with `python.py`, then `emitter.py`; `guard.py` says what emitted code may consist of.
"""

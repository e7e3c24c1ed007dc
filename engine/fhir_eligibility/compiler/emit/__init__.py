"""The typed tree to Python: functions, loops, early exit, and the guard that refuses what emitters do not write.

Knows nothing of the text that authors write. Start reading at `emitter` and `cql_emitter`; `guard` says what emitted code may consist of.
"""

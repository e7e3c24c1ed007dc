"""ELM JSON read and written.

Knows the typed tree and nothing of emitted code. Start reading at `reader` and `writer`.
"""

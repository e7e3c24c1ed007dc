"""The typed tree that both languages become: its nodes, their kinds, the types, what the models of data have, and the scopes of names.

Knows nothing of the text that a tree came from, nor of the Python that it becomes. Start reading at `nodes` and `node_kinds`.
"""

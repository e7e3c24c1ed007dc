"""The typed tree that both languages become: its nodes and their kinds, types, what the models of data have, the scopes of names.

May not know: the text that a tree came from, and the Python that it becomes.
Start with `nodes.py` and `traits.py`, then `types.py`.
"""

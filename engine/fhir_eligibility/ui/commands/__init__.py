"""The commands of `eligibility`, a module each.

May not know: how a run works inside: commands describe it by options and show what came of it.
Start with `cli.py`, then `screen.py`.
"""

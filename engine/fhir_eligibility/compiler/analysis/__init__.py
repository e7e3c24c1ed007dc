"""What a tree tells before it runs: what data it reads, of which dates, and whether its answer can only move one way when rows are added.

May not know: emitted code, patients. An analysis answers "unknown" for a node that it does not know.
Start with `requirements.py` and `monotonicity.py`.
"""

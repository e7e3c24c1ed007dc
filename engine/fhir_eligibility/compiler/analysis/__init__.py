"""What a tree tells before it runs: what data it reads, of which dates, and whether its answer can only move one way when rows are added.

An analysis answers "unknown" for a node that it does not know. Start reading at `requirements` and `monotonicity`.
"""

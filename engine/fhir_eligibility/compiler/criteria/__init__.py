"""A definition to compiled rules: expressions and libraries compiled, kept, and what they read of patients put together.

The only room of the compiler that others start from. Start reading at `rules`.
"""

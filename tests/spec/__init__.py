"""The official conformance suites and what we do not meet of them: `python -m tests.spec`, and as a pytest module."""

"""Servers for tests: a stub that fails in the ways that servers do, and a real FHIR server in an environment of its
own.
"""

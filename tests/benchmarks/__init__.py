"""Measurements, each run as a module of its own; no tests."""

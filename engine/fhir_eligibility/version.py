"""The version of the engine, recorded in every output."""

__version__ = "0.1.0"

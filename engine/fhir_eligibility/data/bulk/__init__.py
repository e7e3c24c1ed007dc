"""Exports too large for memory: resources that can matter are kept as bytes by patient, and decoded a patient at a time."""

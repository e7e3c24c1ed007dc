"""What commands say while they run.

May not know: what a command does.
Start with `logs.py`.
"""

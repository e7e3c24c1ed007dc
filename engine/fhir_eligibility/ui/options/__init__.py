"""What commands are told: options, what they take, where they come from, and the statuses with which commands end.

May not know: what a command does.
Start with `options.py`, then `command_parser.py`.
"""

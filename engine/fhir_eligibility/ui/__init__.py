"""What people and schedulers use: the commands, their options, files of options, logs, exit statuses, tables on the terminal.

May not know: how anything is decided; it asks the folders above. Messages say what is wrong, where, and what to do.
Start with `commands/cli.py` (the commands), then `commands/screen.py` (one of them) and `options/command_parser.py` (how options are read).
"""

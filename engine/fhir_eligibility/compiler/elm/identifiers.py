"""Names for Python that read like those of an author."""

from __future__ import annotations

import keyword


def identifier(name: str) -> str:
    """A Python identifier that reads like a name; many names have the same."""
    text = "".join(c if c.isascii() and c.isalnum() else "_" for c in name[:60]).strip("_") or "x"
    return f"_{text}" if text[0].isdigit() or keyword.iskeyword(text) else text

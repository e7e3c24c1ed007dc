"""Characters in the texts of strangers that would steer a terminal, or make a text look like another, shown instead.

Titles, descriptions, expressions, names, and what servers say are written by strangers. Each such character is shown as `\\u001b`: a form that JSON
and CQL read as the same character.
"""

from __future__ import annotations

_KEPT = frozenset("\n\t")
_HIDDEN = (
    *range(0x20),  # C0: escape, return, bell, backspace
    *range(0x7F, 0xA0),  # delete and C1, among them one character that begins a sequence
    0x061C, 0x200E, 0x200F,  # marks of direction
    0x2028, 0x2029,  # ends of lines and paragraphs
    *range(0x202A, 0x202F),  # embeddings and overrides of direction
    *range(0x2066, 0x206A),  # isolates of direction
    0xFEFF,  # of no width
    *range(0xD800, 0xE000),  # halves of characters, which no encoding takes
)  # fmt: skip
_SHOWN = {code: f"\\u{code:04x}" for code in _HIDDEN if chr(code) not in _KEPT}


def visible(text: str) -> str:
    """A text in which each character that would steer a terminal is shown as `\\u` and four digits."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)

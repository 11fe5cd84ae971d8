"""Text that others wrote, made safe to show to people."""

from __future__ import annotations


def printable(text: str) -> str:
    """Replace what would move a terminal's cursor, change its colours or break a line."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)

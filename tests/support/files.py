"""Files that somebody might hand in: good ones with pieces added, taken out, moved and repeated, and hostile ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["GRAPH_PIECES", "TEXT_PIECES", "break_text"]

#: What breaks paths, shells, terminals and numbers, whatever the format.
_ANYWHERE = (
    *("../../../etc/passwd", "/etc/passwd", "..", "/", "$(id)", "`id`", "; id", "| id", "\x1b[2J", "\x9b2J"),
    *("\0", "\u202e", "\u2066", "\x85", "\u2028", "\ud800", "9" * 400, "1e999", "-1", "-", " ", "x" * 5000, "null"),
)
#: Pieces that break YAML and JSON, or what p3s makes of them.
TEXT_PIECES = (
    *("${{", "}}", "${{ params.x }}", "${{ 9 ** 9 ** 9 }}", '${{ "a" * 99999999 }}', "&a", "*a", "&a [*a, *a]"),
    *(
        "!!int",
        "---\n",
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        "- ",
        "\n",
        "\t",
        "'",
        '"',
        "#",
        "|",
        ">",
        "~",
        "<<",
        "?",
        "%",
        "@",
    ),
    *(
        "all",
        "partial",
        "done",
        "each",
        "matrix:",
        "inputs:",
        "outputs:",
        "env:",
        "if:",
        "retry:",
        "resources:",
        "jobs:",
    ),
    *_ANYWHERE,
)
#: Pieces that break XML, or what p3s makes of it.
GRAPH_PIECES = (
    *("<", ">", "&", "&a;", "]]>", "<!DOCTYPE x>", '<!DOCTYPE x [<!ENTITY a "&a;&a;">]>', "<?x?>", "<graph>"),
    *("</node>", "</data>", '"', "{", '<edge source="a" target="a"/>', "<![CDATA[", "<!--"),
    *_ANYWHERE,
)


def break_text(dice: random.Random, text: str, pieces: Sequence[str], most: int = 100_000) -> str:
    """Return a text with up to four changes; it has at most so many characters."""
    for _ in range(dice.randint(1, 4)):
        place, end = sorted((dice.randrange(len(text)), dice.randrange(len(text))))
        match dice.randrange(20):
            case 0 | 1 | 2 | 3 | 4 | 5 | 6:
                text = text[:place] + dice.choice(pieces) + text[place:]
            case 7 | 8 | 9 | 10 | 11 | 12:
                text = text[:place] + text[min(end, place + 20) :] or "x"
            case 13 | 14 | 15 | 16 | 17 | 18:
                text = text[:place] + text[end : end + 15] + text[place:]
            case _:
                # A part of it, again and again: what costs more than its size shows here.
                part = text[place : place + dice.choice((3, 30, 300))] or "x"
                text = text[:place] + part * dice.choice((10, 1000, most // len(part))) + text[place:]
        text = text[:most]
    return text

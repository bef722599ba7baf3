"""Fonts: which installed fonts write a text, and what stands in for one that none can write.

A name in a script that no installed font has would else be a row of boxes.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font

from geoseg.process import remembered

_PREFERRED = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC")
_BOXES = ("last resort", "lastresort", "blank", "fallback")
"""In the names of fonts that have every character, as a box."""


def setting(text: str) -> dict[str, Any]:
    """How matplotlib is to set a text that comes from outside: fonts that have it, dollar signs no formulas."""
    return {"fontfamily": list(_families(frozenset(text))), "parse_math": False}


def writable(text: str) -> bool:
    """Whether the installed fonts together have all characters of a text."""
    return not _missing(_families(frozenset(text)), frozenset(text))


def legible(text: str) -> str:
    """A text with a question mark for each character that no installed font has."""
    missing = _missing(_families(frozenset(text)), frozenset(text))
    return "".join("?" if each in missing else each for each in text)


@remembered(256)
def _families(characters: frozenset[str]) -> tuple[str, ...]:
    """Families that together have the characters, as far as any does; the preferred ones first."""
    known = set(fontManager.get_font_names())
    found = [name for name in _PREFERRED if name in known]
    missing = _missing(tuple(found), characters)
    if missing:
        for entry in _plain():
            if entry.name not in found and missing & _characters(entry.fname):
                found.append(entry.name)
                missing -= _characters(entry.fname)
            if not missing:
                break
    return tuple(found)


def _missing(families: tuple[str, ...], characters: frozenset[str]) -> frozenset[str]:
    missing = frozenset(each for each in characters if not each.isspace() and unicodedata.category(each) != "Cf")
    for entry in _plain():
        if missing and entry.name in families:
            missing -= _characters(entry.fname)
    return missing


@remembered(1)
def _plain() -> tuple[FontEntry, ...]:
    """One upright font of each family, which stands for what the family can write, sorted by name."""
    fonts: dict[str, FontEntry] = {}
    for entry in sorted(fontManager.ttflist, key=lambda each: (each.name, each.style != "normal", each.fname)):
        if not any(word in entry.name.lower() for word in _BOXES):
            fonts.setdefault(entry.name, entry)
    return tuple(fonts.values())


@remembered(2000)
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that was removed or cannot be read
        return frozenset()

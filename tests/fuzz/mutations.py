"""Mutations of bytes, of plain data and of YAML text. A `random.Random` decides everything, so a seed says it all."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import yaml

NUMBERS = (0, -1, 1, 7, 17.5, 255, 256, 2**31, 2**63, -(2**63), 10**30, 1e-300, 1e300, float("nan"), float("inf"))
TEXTS = (
    "", " ", "nan", "auto", "imagery", "scene", "tiny", "EPSG:4326", "EPSG:0", "red", "None", "~", "..", ".", "/",
    "../scene.tif", "/dev/zero", "/dev/null", "/etc/passwd", "job.yaml", "out/map.tif", "job.json", "blocks",
    "a" * 5000, "\u202egnp.tif", "a\u2028b", "\ufffd", "\x7f", "\x1b[31m", "e\u0301",
    "%s%n", "{0}", "[bold]x", "$HOME", "*", "name\nline",
)  # fmt: skip
OTHERS = (None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"b": {"c": []}}}, [1, "a", None], b"\xff\x00")
RAW = (".nan", ".inf", "1e999", "0x7fffffffffffffff", "2001-99-99", "2001-01-01", "!!python/name:os.system", "&a [*a]")
"""Scalars that a YAML dumper would not write."""


def damaged(data: bytes, dice: Random) -> bytes:
    """Bytes with some bits flipped, cut off, filled with others, or with a part twice, missing or moved."""
    if not data:
        return dice.randbytes(dice.randrange(1, 50))
    changed, at = bytearray(data), dice.randrange(len(data))
    end = min(len(data), at + dice.choice((1, 4, 16, 512)))
    match dice.randrange(8):
        case 0 | 1 | 2:
            for _ in range(dice.choice((1, 1, 2, 20))):
                changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        case 3:
            del changed[at:]
        case 4:
            changed[at:end] = dice.choice((bytes(end - at), dice.randbytes(end - at)))
        case 5:
            del changed[at:end]
        case 6:
            changed[at:at] = changed[at:end]
        case 7:
            changed[:] = dice.choice((b"", b"\0" * len(data), dice.randbytes(len(data)), data[::-1]))
    return bytes(changed)


def value(dice: Random, depth: int = 0) -> Any:
    """Some plain value."""
    match dice.randrange(4 if depth < 3 else 2):
        case 0:
            return dice.choice(NUMBERS)
        case 1:
            return dice.choice(TEXTS)
        case 2:
            return copy.deepcopy(dice.choice(OTHERS))
        case _:
            inner = [value(dice, depth + 1) for _ in range(dice.randrange(4))]
            return inner if dice.random() < 0.5 else {str(dice.choice(TEXTS)): each for each in inner}


def mutated(data: Any, dice: Random) -> Any:
    """Plain data with one to three values replaced, removed, put elsewhere, wrapped or joined by others."""
    data = copy.deepcopy(data)
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = list(_places(data))
        if not places:
            return value(dice)
        holder, key = dice.choice(places)
        match dice.randrange(7):
            case 0 | 1 | 2:
                holder[key] = value(dice)
            case 3:
                del holder[key]
            case 4:
                other, where = dice.choice(places)
                holder[key] = copy.deepcopy(other[where])
            case 5:
                holder[key] = dice.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
            case 6 if isinstance(holder, dict):
                holder[dice.choice((dice.choice(TEXTS), str(key) + "s", str(key).upper()))] = value(dice)
            case 6:
                holder.insert(key, copy.deepcopy(dice.choice((holder[key], value(dice)))))
    return data


def yaml_text(data: Any, dice: Random) -> bytes:
    """Mutated data as YAML, sometimes with keys given twice, values that no dumper writes, or damaged bytes."""
    text = yaml.safe_dump(mutated(data, dice), allow_unicode=dice.random() < 0.5)
    lines = text.splitlines(keepends=True)
    at = dice.randrange(len(lines))
    match dice.randrange(8):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            lines[at] = lines[at].partition(":")[0] + ": " + dice.choice(RAW) + "\n"
        case 2:
            return damaged(text.encode("utf-8", "surrogatepass"), dice)
    return "".join(lines).encode("utf-8", "surrogatepass")


def json_text(data: bytes, dice: Random) -> bytes:
    """A JSON file, or one of JSON lines, with its values mutated; or foreign JSON as a whole."""
    if dice.random() < 0.3:
        return json.dumps(value(dice), default=str).encode()
    try:
        lines = [json.loads(line) for line in ([data] if data.startswith(b"{\n") else data.splitlines())]
    except ValueError:
        return damaged(data, dice)
    return b"\n".join(json.dumps(mutated(line, dice), default=str).encode() for line in lines)


def _places(data: Any) -> Any:
    """Each holder and key in nested data."""
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield data, key
        yield from _places(data[key])

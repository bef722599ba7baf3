"""Digests: sha256 as hexadecimal text, of bytes and of plain data. Nothing is read or written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sha256(data: bytes) -> str:
    """sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_of(facts: Mapping[str, Any]) -> str:
    """sha256 of plain data, whatever its key order.

    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    """
    return sha256(json.dumps(facts, sort_keys=True).encode())

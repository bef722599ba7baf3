"""Importing: a STAC item of a model and its weights become a model folder.

Weights are taken from beside or below the item, or from where the user says; nothing is fetched. An item is no reason
to trust a file whose reading can run code: that the user says.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from geoseg.catalog import stac
from geoseg.catalog.card import Model, ModelCard
from geoseg.errors import ModelError
from geoseg.models import adding, loading, weights
from geoseg.models.adding import Added

_LARGEST = 10_000_000


def from_item(path: Path, source: Path | None = None, *, trust: bool = False) -> Added:
    """A model from its STAC item.

    Parameters
    ----------
    path
        The item, JSON.
    source
        Its weights; default: the file that the item names beside or below itself.
    trust
        Whether weights may be read though reading them can run code (`.pt2`).

    Raises
    ------
    ModelError
        If the item describes no model that geoseg can run, or its weights are missing, others, or do not fit.
    """
    found = stac.described(_json(path), str(path))
    file = _beside(path, found.href) if source is None else source
    if not file.is_file():
        raise ModelError(f"{file} is no file; name the weights of {path} with --weights")
    if file.stat().st_size > weights.LARGEST:
        raise ModelError(f"{file} is larger than {weights.LARGEST / 1e9:.0f} GB, the most that weights files have")
    if found.sha256 is not None and _sha256(file) != found.sha256:
        raise ModelError(f"{file} has another hash than {path} says; fetch the weights again")
    asked = {**(found.card or found.draft).architecture}
    if file.suffix.lower() == ".pt2" or asked.get("name") == "exported":
        if not trust:
            raise ModelError(f"reading {file} can run code; if you know where it comes from, say so with --trust")
        asked = {"name": "exported", "trust": trust}
    if found.card is None:
        return adding.from_file(file, found.draft.model_copy(update={"architecture": asked}))
    return _as_it_was(found.card.model_copy(update={"architecture": asked}), file)


def _as_it_was(card: ModelCard, file: Path) -> Added:
    """A card that geoseg wrote, with its weights, which must load."""
    held = card.model_copy(update={"weights": card.weights.model_copy(update={"file": file.name})})
    loading.load(Model(str(file.parent), held), "cpu")
    return Added(held, file.read_bytes())


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path} is larger than {_LARGEST // 1_000_000} MB; a STAC item is a short text")
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} cannot be read as JSON: {str(error)[:200]}") from None


def _beside(path: Path, href: str) -> Path:
    home = path.parent.resolve()
    try:
        file = (home / href.removeprefix("file://")).resolve()
    except (OSError, ValueError):
        file = Path("/")
    if "://" in href.removeprefix("file://") or not file.is_relative_to(home):
        raise ModelError(
            f"{path} says that the weights are at {href[:200]!r}, which is not beside or below it; fetch them and name "
            "the file with --weights"
        )
    return file


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

"""Preparation: all that a training needs before its first step: network, scenes, and which ground is for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from geoseg import catalog
from geoseg.catalog import Catalog
from geoseg.catalog.card import Model
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError
from geoseg.models import networks, receptive_field
from geoseg.models.receptive_field import Field
from geoseg.training import pretrained, scenes, start
from geoseg.training import split as splits
from geoseg.training.division import Squares
from geoseg.training.recipe import NORMALISATIONS, Recipe
from geoseg.training.scenes import LabelledScene
from geoseg.training.split import Split

_FASTEST, _SLOWEST = 1.0, 1e-7
"""Learning rates beyond them never lead anywhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A training that can begin."""

    recipe: Recipe
    """With all that a model it starts from decides."""
    known: Catalog
    legend: Legend
    network: nn.Module
    """With random weights, or those of the model that it starts from."""
    field: Field
    split: Split
    model: Model | None = None
    """What it starts from."""


def prepared(recipe: Recipe) -> Prepared:
    """Build the network, load the scenes and divide them.

    Parameters
    ----------
    recipe
        What to learn from what.

    Raises
    ------
    ModelError
        If the architecture is unknown, or the model to start from cannot be read.
    CatalogError, RasterError, JobError
        If a scene cannot be read, or leaves no labels to train or validate on, or the spec cannot work.
    """
    known = catalog.read(recipe.catalog)
    legend = known.legend(recipe.legend)
    legend.check_fits_uint8()
    recipe, model = start.resolved(known, recipe, legend)
    network = networks.build(recipe.architecture, len(recipe.bands), len(legend))
    if model is not None:
        start.taken(network, model, recipe, legend)
    if recipe.pretrained is not None:
        pretrained.taken(network, recipe)
        named = recipe.pretrained.model_copy(update={"file": Path(recipe.pretrained.file).name})
        recipe = recipe.model_copy(update={"pretrained": named})
    field = receptive_field.probe(network, len(recipe.bands))
    _check_sizes(recipe, field)
    if recipe.normalisation.kind not in NORMALISATIONS:  # of the model that it starts from
        raise JobError(f"normalisation is {recipe.normalisation.kind}; training knows scene, fixed and none: state one")
    squares = Squares.of(recipe.chips, recipe.seed, field, recipe.split)
    how = recipe.bands, legend, squares, recipe.normalisation, recipe.memory
    loaded = scenes.load_all(known, recipe.all_scenes, *how)
    _check_scenes(recipe, loaded)
    split = splits.split(loaded, recipe, squares, legend, field)
    if model is not None:
        split = replace(split, notes=(*split.notes, *start.known_already(split.scenes, model.card)))
    return Prepared(recipe, known, legend, network, field, split, model)


def _check_sizes(recipe: Recipe, field: Field) -> None:
    if recipe.chips.size % field.stride:
        raise JobError(
            f"chips.size is {recipe.chips.size}; the network takes multiples of {field.stride} pixels, "
            f"for instance {-(-recipe.chips.size // field.stride) * field.stride}"
        )
    if recipe.learning_rate < _SLOWEST:
        raise JobError(
            f"learning_rate is {recipe.learning_rate:g}; nothing is learnt below {_SLOWEST:g}, so make learning_rate "
            "larger, for instance 0.003"
        )
    if recipe.learning_rate > _FASTEST:
        raise JobError(
            f"learning_rate is {recipe.learning_rate:g}; no network learns above {_FASTEST:g}, so make learning_rate "
            "smaller, for instance 0.003"
        )


def _check_scenes(recipe: Recipe, loaded: Sequence[LabelledScene]) -> None:
    size = recipe.chips.size
    for scene in loaded:
        if size > max(scene.window.shape):
            rows, cols = scene.window.shape
            raise JobError(
                f"chips.size is {size} pixels, but imagery {scene.name!r} has only {rows} x {cols}; make it smaller"
            )

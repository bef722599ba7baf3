"""Start: the weights of a finished model as the first ones of a training, for other classes or bands where asked.

Input layers and heads are those whose shape follows the number of bands and of classes; they are matched by the names
of bands and classes. All else is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from geoseg.accuracy import seen
from geoseg.catalog import Catalog
from geoseg.catalog.card import Model, ModelCard
from geoseg.catalog.legend import Legend
from geoseg.errors import JobError
from geoseg.models import loading, networks
from geoseg.training import layers
from geoseg.training.division import BEYOND, TEST, VALIDATION
from geoseg.training.recipe import Recipe, StartSpec
from geoseg.training.scenes import LabelledScene


def resolved(known: Catalog, recipe: Recipe, legend: Legend) -> tuple[Recipe, Model | None]:
    """A recipe with all that its first model decides: architecture, normalisation, its hash, what becomes of the head.

    Parameters
    ----------
    known
        Catalog that the model is looked up in.
    recipe
        What was asked for; as it is where it starts from random weights.
    legend
        What is to be learnt.

    Raises
    ------
    CatalogError, ModelError
        If there is no such model or it cannot be read.
    JobError
        If it is another one than the recipe says, or cannot be gone on with.
    """
    if recipe.start is None:
        return recipe, None
    model = known.model(recipe.start.model)
    card = model.card
    _check(card, recipe)
    same = sorted(legend.names) == sorted(card.legend.names)
    if recipe.start.head == "keep" and not same:
        raise JobError(
            f"start.head is 'keep', but model {card.name!r} tells {', '.join(card.legend.names)} apart and "
            f"{', '.join(legend.names)} are to be learnt; take head: new"
        )
    start = recipe.start.model_copy(
        update={
            "model": card.name,
            "sha256": card.weights.sha256,
            "head": recipe.start.head or ("keep" if same else "new"),
        }
    )
    changed: dict[str, object] = {"start": start, "architecture": dict(card.architecture)}
    if "normalisation" not in recipe.model_fields_set:
        changed["normalisation"] = card.normalisation
    return recipe.model_copy(update=changed), model


def taken(network: nn.Module, model: Model, recipe: Recipe, legend: Legend) -> None:
    """Give a fresh network the weights of a model; its head is left random where it is to be new.

    A band that the model knows gets its weights in the input layer; another the mean of those of all the model's bands.

    Parameters
    ----------
    network
        Built for the recipe's bands and legend.
    model
        What it starts from.
    recipe
        From `resolved`.
    legend
        What is to be learnt.

    Raises
    ------
    ModelError
        If the weights cannot be loaded, or the network cannot be given other bands.
    """
    assert recipe.start is not None
    card = model.card
    loaded = loading.load(model, "cpu")
    assert isinstance(loaded, nn.Module)
    state = {name: each.clone() for name, each in loaded.state_dict().items()}
    bands, classes = len(card.bands), len(card.classes)
    if recipe.bands != card.bands:
        for name in layers.of_bands(card.architecture, bands, classes):
            state[name] = layers.other_bands(name, state[name], card.bands, recipe.bands)
    fresh = network.state_dict()
    for name in layers.of_classes(card.architecture, bands, classes):
        if recipe.start.head == "new":
            state[name] = fresh[name]
        else:
            state[name] = state[name][[card.legend.names.index(each) for each in legend.names]]
    network.load_state_dict(state)


def groups_of(network: nn.Module, start: StartSpec | None) -> list[tuple[float, list[str]]]:
    """Names of the parameters that are learnt, in groups with the factor of their learning rate.

    Parameters
    ----------
    network
        To be trained.
    start
        What it started from; None: all of it is learnt alike.
    """
    names = [name for name, _ in network.named_parameters()]
    if start is None or (start.freeze == "none" and start.encoder_rate == 1):
        return [(1.0, names)]
    prefixes = tuple(f"{each}." for each in networks.encoder_of(network))
    within = [name for name in names if name.startswith(prefixes)]
    groups = [(1.0, [name for name in names if not name.startswith(prefixes)])]
    return groups if start.freeze == "encoder" else [*groups, (start.encoder_rate, within)]


def hold_frozen(network: nn.Module, start: StartSpec | None) -> None:
    """Keep the statistics of a frozen encoder as they are, in a network that was put into training mode.

    Parameters
    ----------
    network, start
        As for `groups_of`.
    """
    if start is not None and start.freeze == "encoder":
        for name in networks.encoder_of(network):
            network.get_submodule(name).eval().requires_grad_(False)


def known_already(scenes: Sequence[LabelledScene], card: ModelCard) -> list[str]:
    """What a reader of scores should know of ground that the first model was trained on and that is held out now.

    Parameters
    ----------
    scenes
        Divided.
    card
        Of the model.
    """
    trained = seen.of_cards([card])
    if trained is None:
        return []
    held, known = 0, 0
    for scene in scenes:
        if scene.grid is None:
            continue
        ground = seen.on(trained, scene.grid, scene.window)
        for block in scene.blocks():
            division = scene.division_in(block)
            judged = (division == VALIDATION) | (division == TEST) | (division == BEYOND)
            if judged.any():
                judged &= scene.labels_in(block) >= 0
                held += int(judged.sum())
                known += int((judged & ground.within(block)["train"]).sum())
    if not known:
        return []
    return [
        f"{known / held:.0%} of the held-out labels lie where model {card.name!r}, from which this one starts, was "
        "trained: scores flatter"
    ]


def _check(card: ModelCard, recipe: Recipe) -> None:
    assert recipe.start is not None
    name = card.architecture.get("name")
    if name not in networks.NAMES:
        raise JobError(f"model {card.name!r} is {name}, which cannot be trained on; start from a compact or smp model")
    if card.output.kind != "logits":
        raise JobError(f"model {card.name!r} gives {card.output.kind}; only one that gives logits can be trained on")
    if "architecture" in recipe.model_fields_set and recipe.architecture != card.architecture:
        raise JobError(
            f"architecture is {recipe.architecture}, and that of model {card.name!r} is {card.architecture}; leave it "
            "out, since start.model decides it"
        )
    if recipe.start.sha256 not in (None, card.weights.sha256):
        raise JobError(
            f"start.sha256 is {recipe.start.sha256}, but the weights of model {card.name!r} are "
            f"{card.weights.sha256}; fetch the model that was meant"
        )
    unlike = card.normalisation.kind not in ("none", "scene") and recipe.bands != card.bands
    if unlike and "normalisation" not in recipe.model_fields_set:
        raise JobError(
            f"the normalisation of model {card.name!r} has numbers for {', '.join(card.bands)}, not for "
            f"{', '.join(recipe.bands)}; state 'normalisation'"
        )

"""Predictor: a model and a device become a callable: bands in, labels and confidence out.

Pixels are (band, row, col) float32 with NaN for no data; labels are legend ids and confidence is uint8, both 255
where there is none. What can change a pixel (core, halo, precision, stitch, normalisation) is settled when the
predictor is prepared; what cannot (device, batch, threads) is settled where it runs, so that a job planned on a
laptop runs on a cluster's GPUs. torch is loaded where windows are labelled, not where a job is planned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from geoseg.catalog.card import Model, ModelCard
from geoseg.errors import JobError, PredictionError
from geoseg.grid import Tile
from geoseg.imagery import Statistics
from geoseg.inference.batches import Batches
from geoseg.inference.member import Member, check_alike, numbers_of
from geoseg.inference.options import LAYERS, PLAIN, Options, temperature_of, told
from geoseg.models import devices, trial, weights
from geoseg.process import kept
from geoseg.quantities import counted

Precision = Literal["float32", "bfloat16", "float16"]
Stitch = Literal["crop", "blend"]


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model ready to label blocks: plain facts, a few kB when pickled; the network is loaded where it is called."""

    model: Model
    mean: tuple[float, ...]
    """Subtracted from each band, physical units."""
    std: tuple[float, ...]
    """What each band is then divided by."""
    core: int
    """Pixels of a window's edge that are kept."""
    halo: int
    """Pixels of context on each side of the core."""
    batch: int = 0
    """Windows in one pass of the network on a GPU, 0: as many as their shape suggests; on a CPU each passes alone."""
    precision: Precision = "float32"
    stitch: Stitch = "crop"
    """crop: a pixel is labelled by the window whose core it lies in. blend: by all that see it, averaged."""
    options: Options = PLAIN
    """How scores become labels."""
    temperature: float = 1.0
    """What logits are divided by before they become shares."""
    others: tuple[Member, ...] = ()
    """Models whose shares are averaged with those of this one, in this order."""
    also: tuple[str, ...] = ()
    """What is made beside labels and confidence, see `options.LAYERS`; changes neither."""
    device: str = "auto"
    """'cpu', 'cuda', 'cuda:1', ...; 'auto': the first GPU where the process has one, else the CPU."""
    threads: int = 0
    """Windows labelled at once on a CPU; 0: one for each core that the process may use."""
    window_bytes: int | None = None
    """Memory that labelling one window takes; None where it is not known."""
    loaded_bytes: int = 0
    """Memory that the loaded network takes, with its libraries."""

    @property
    def members(self) -> tuple[Member, ...]:
        """All models with their numbers, the first one's own among them."""
        return Member(self.model, self.mean, self.std, self.temperature), *self.others

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Of all models."""
        return tuple(each.model.card for each in self.members)

    @property
    def name(self) -> str:
        """Of the model, or of all: 'one + another'."""
        return " + ".join(card.name for card in self.cards)

    @property
    def stride(self) -> int:
        """Pixels of which cores and halo are multiples."""
        return math.lcm(*(card.stride for card in self.cards))

    @property
    def field(self) -> int | None:
        """Pixels beyond a core that can change a label; None where a network looks at its whole window."""
        if any(card.field == "image-wide" for card in self.cards):
            return None
        return _up(max(card.halo for card in self.cards), self.stride)

    @property
    def margin(self) -> int:
        """Pixels that a block must be grown by on each side."""
        return self.halo if self.stitch == "crop" else self.rings * self.core + self.halo

    @property
    def facts(self) -> dict[str, Any]:
        """All that can change a pixel, as plain data."""
        said: dict[str, Any] = {"options": asked} if (asked := self.asked) else {}
        if self.others:
            said["others"] = [each.facts for each in self.others]
        return {
            **said,
            **self.members[0].facts,
            "core": self.core,
            "halo": self.halo,
            "precision": self.precision,
            "stitch": self.stitch,
        }

    @property
    def asked(self) -> dict[str, Any]:
        """What of the options, and of the temperature, is not as by default; part of the facts."""
        each = [member.temperature for member in self.members]
        said: dict[str, Any] = {"temperature": each if self.others else self.temperature}
        return self.options.facts | (said if set(each) != {1} else {})

    @property
    def told(self) -> str:
        """The same for people; '' where nothing was asked for."""
        parts = [told(self.model.card.legend, self.options, [member.temperature for member in self.members])]
        if self.others:
            parts.insert(0, f"mean of the shares of {len(self.members)} models")
        return "; ".join(each for each in parts if each)

    @property
    def predicted(self) -> tuple[str, ...]:
        """Names of the classes that may be predicted, in the legend's order."""
        return self.options.names(self.model.card.legend)

    @property
    def leaves_out(self) -> bool:
        """Whether a pixel with data may get no label, since the share of its class is below a threshold."""
        return bool(self.options.thresholds)

    def __call__(self, pixels: np.ndarray, tile: Tile) -> tuple[np.ndarray, ...]:
        """Label a tile of the lattice.

        A band without data counts as its mean, also beyond the imagery's edge. A pixel that lacks a band gets no
        label, and windows are computed as far as they hold whole pixels of `tile.keep`.

        Parameters
        ----------
        pixels : (band, row, col) float32
            Physical values over `tile.read`, NaN where there is no data.
        tile : Tile
            Where they lie; its cores are of this predictor's size and its margin is at least `margin`.

        Returns
        -------
        labels : (row, col) uint8
            Legend ids over `tile.read`; 255 beyond `tile.keep`, where a band has no data, and where the share of the
            class is below its threshold.
        confidence : (row, col) uint8
            Share that softmax gives the winning class, 0..254 for 0..1, rounded; 255 where labels has it.
        *also : (row, col) or (class, row, col) uint8
            What `also` names, in the same bytes: probabilities of the `predicted` classes, entropy, margin.

        Raises
        ------
        PredictionError
            If tile and pixels do not fit, a score of a whole pixel is not finite, or the device's memory does not
            hold one window.
        ModelError
            If the network cannot be loaded or the device is not there.
        """
        from geoseg.inference import stitch  # loads torch

        self._check(pixels, tile)
        return stitch.label(self, pixels, tile)

    def load(self) -> None:
        """Load the network where this process will run it, so that the first tile need not.

        Raises
        ------
        ModelError
            If it cannot be loaded or the device is not there.
        """
        from geoseg.models import loading  # loads torch

        for each in self.members:
            loading.ready(each.model, self.device)

    @property
    def shares_its_device(self) -> bool:
        """Whether tiles may be labelled at the same time: on a CPU their windows take turns."""
        return devices.available(self.device) == "cpu"

    @property
    def reduced_batch(self) -> int:
        """Windows in one pass where this process found memory for fewer than asked; else 0."""
        batches, side = kept(Batches), self.core + 2 * self.halo
        found = [batches.smallest(card.weights.sha256, side) for card in self.cards]
        return min((size for size in found if size), default=0)

    @property
    def rings(self) -> int:
        """How many cores away a window still sees a pixel."""
        return -(-self.halo // self.core)

    def _check(self, pixels: np.ndarray, tile: Tile) -> None:
        bands = len(self.model.card.bands)
        if pixels.shape != (bands, *tile.read.shape):
            raise PredictionError(
                f"model {self.model.card.name!r} takes {counted(bands, 'band')} of {tile.read.height} x "
                f"{tile.read.width} pixels here and was given an array of shape {pixels.shape}; give (band, row, col)"
            )
        if tile.core != self.core or tile.margin < self.margin:
            raise PredictionError(
                f"the tile has cores of {tile.core} pixels and a margin of {tile.margin}; "
                f"give whole cores of {self.core} pixels and a margin of {self.margin} on each side"
            )


def prepare(
    model: Model,
    statistics: Statistics | None = None,
    *,
    core: int | Literal["auto"] = "auto",
    halo: int | Literal["auto"] = "auto",
    batch: int | Literal["auto"] = "auto",
    precision: Literal["auto"] | Precision = "auto",
    stitch: Literal["auto"] | Stitch = "auto",
    device: str = "auto",
    threads: int | Literal["auto"] = "auto",
    options: Options | None = None,
    temperature: float | Literal["auto"] = "auto",
    others: Sequence[Model] = (),
    also: Sequence[str] = (),
) -> Predictor:
    """Settle how a model is run, and refuse here what would fail on a worker; the weights are read and checked.

    Parameters
    ----------
    model : Model
        From `card.read_model` or a catalog.
    statistics : Statistics, optional
        Of the whole imagery, its bands in the card's order; needed where the card's normalisation is 'scene'
        or 'percentile'. A band that is constant there is centred and not scaled.
    core, halo : int or 'auto'
        Pixels; 'auto' takes the card's window and halo; of several models the first one's window and the largest halo.
    batch, device, threads
        See `Predictor`; 'auto' leaves them to the process that runs it.
    precision, stitch
        'auto' is float32 and crop.
    options : Options, optional
        Default: the best class of one pass.
    temperature : float or 'auto'
        'auto' takes the card's, else 1.
    others : sequence of Model
        Further members of an ensemble.
    also : sequence of str
        Of `options.LAYERS`.

    Returns
    -------
    Predictor

    Raises
    ------
    JobError
        If core or halo do not fit the network.
    ModelError
        If the weights cannot be used or the card contradicts them.
    """
    models = (model, *others)
    check_alike(models)
    stride = math.lcm(*(each.card.stride for each in models))
    first, *more = (_member(each, statistics, temperature) for each in models)
    ready = Predictor(
        first.model,
        first.mean,
        first.std,
        _up(model.card.window, stride) if core == "auto" else core,
        _up(max(each.card.halo for each in models), stride) if halo == "auto" else halo,
        batch=0 if batch == "auto" else batch,
        precision="float32" if precision == "auto" else precision,
        stitch="crop" if stitch == "auto" else stitch,
        device=device,
        threads=0 if threads == "auto" else threads,
        options=options or PLAIN,
        temperature=first.temperature,
        others=tuple(more),
        also=tuple(also),
    )
    _check(ready)
    window_bytes, loaded_bytes = _memory(ready, [_passed(ready, each) for each in models])
    return replace(ready, window_bytes=window_bytes, loaded_bytes=loaded_bytes)


# ------------------------------------------------------------------------------- checks at the door


def _member(model: Model, statistics: Statistics | None, temperature: float | Literal["auto"]) -> Member:
    card = model.card
    light = Model(model.folder, card.model_copy(update={"training": {}, "scores": {}}))  # workers need no history
    return Member(light, *numbers_of(model, statistics), temperature_of(card, temperature))


def _passed(ready: Predictor, model: Model) -> trial.Passed:
    side = ready.core + 2 * ready.halo
    passed = trial.check(model, side, ready.precision)
    if passed.side not in (None, side):
        raise JobError(
            f"the network of model {model.card.name!r} takes windows of {passed.side} pixels only; with a halo of "
            f"{ready.halo} inference.window is {passed.side - 2 * ready.halo}, not {ready.core}"
        )
    return passed


def _memory(ready: Predictor, passed: Sequence[trial.Passed]) -> tuple[int | None, int]:
    """Bytes for a window, and for all that is loaded: libraries are loaded once, and networks run one after another."""
    windows = [each.window_bytes for each in passed if each.window_bytes is not None]
    networks = [2 * weights.size_of(each.model) for each in ready.members]
    loaded = max(each.loaded_bytes - size for each, size in zip(passed, networks)) + sum(networks)
    if len(windows) < len(passed):
        return None, loaded
    sums = len(passed) > 1 or ready.options.tta != "none"
    held = 4 * len(ready.model.card.classes) * (ready.core + 2 * ready.halo) ** 2
    return max(windows) + 2 * held * sums, loaded


def _up(pixels: int, stride: int) -> int:
    return -(-pixels // stride) * stride


def _check(ready: Predictor) -> None:
    if ready.device != "auto":
        devices.check_device(ready.device)
    stride = ready.stride
    for key, value, least in (("window", ready.core, 1), ("halo", ready.halo, 0)):
        if value < least or value % stride:
            below = max(-(-least // stride) * stride, value // stride * stride)
            raise JobError(
                f"inference.{key} is {value}; model {ready.name!r} needs multiples of {stride} pixels, "
                f"for instance {below} or {below + stride}"
            )
    if ready.batch < 0 or ready.threads < 0:
        raise JobError(f"batch is {ready.batch} and threads is {ready.threads}; give positive numbers or 'auto'")
    for key, text, known in (
        ("precision", ready.precision, ("float32", "bfloat16", "float16")),
        ("stitch", ready.stitch, ("crop", "blend")),
        *(("also", each, LAYERS) for each in ready.also),
    ):
        if text not in known:
            raise JobError(f"inference.{key} is {text!r}; choose one of {', '.join(known)} or 'auto'")

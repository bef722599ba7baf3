"""Predictor: a model and a device become a callable: bands in, labels and confidence out.

Pixels are (band, row, col) float32 with NaN for no data; labels are legend ids and confidence is uint8, both 255
where there is none. What can change a pixel (core, halo, precision, stitch, normalisation) is settled when the
predictor is prepared; what cannot (device, batch, threads) is settled where it runs, so that a job planned on a
laptop runs on a cluster's GPUs. Pickles are never read and nothing is downloaded.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from geoseg.catalog.card import Model
from geoseg.catalog.legend import NODATA
from geoseg.errors import JobError, ModelError, PredictionError
from geoseg.grid import Window, cut
from geoseg.imagery import Statistics
from geoseg.models.devices import available, check_device, reproducible
from geoseg.models.loading import Network, load

_log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "float16"]
Stitch = Literal["crop", "blend"]

_fits: dict[tuple[str, ...], int] = {}
"""Batches that a device's memory was found to allow, where smaller than asked."""


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
    """Windows in one pass of the network; 0: 1 on a CPU, on a GPU as many as the window's shape suggests."""
    precision: Precision = "float32"
    stitch: Stitch = "crop"
    """crop: a pixel is labelled by the window whose core it lies in. blend: by all that see it, averaged."""
    device: str = "auto"
    """'cpu', 'cuda', 'cuda:1', ...; 'auto': the first GPU where the process has one, else the CPU."""
    threads: int = 0
    """Windows labelled at once on a CPU; 0: one for each core that the process may use."""

    @property
    def margin(self) -> int:
        """Pixels that a block must be grown by on each side."""
        return self.halo if self.stitch == "crop" else self._reach * self.core + self.halo

    @property
    def facts(self) -> dict[str, Any]:
        """All that can change a pixel, as plain data."""
        card = self.model.card
        return {
            "name": card.name,
            "sha256": card.weights.sha256.lower(),
            "architecture": card.architecture,
            "bands": list(card.bands),
            "classes": list(card.legend.ids),
            "mean": list(self.mean),
            "std": list(self.std),
            "core": self.core,
            "halo": self.halo,
            "precision": self.precision,
            "stitch": self.stitch,
        }

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Label a block: whole cores of the lattice, grown by `margin`.

        A band without data counts as its mean, also beyond the imagery's edge. A pixel that lacks a band gets no
        label, and windows whose core has no whole pixel are not computed.

        Parameters
        ----------
        pixels : (band, row, col) float32
            Physical values, NaN where there is no data.

        Returns
        -------
        labels : (row, col) uint8
            Legend ids; 255 in the margin and where a band has no data.
        confidence : (row, col) uint8
            Share that softmax gives the winning class, 0..254 for 0..1, rounded; 255 where labels has it.

        Raises
        ------
        PredictionError
            If the block's shape is impossible, a score of a whole pixel is not finite, or the device's memory does
            not hold one window.
        ModelError
            If the network cannot be loaded or the device is not there.
        """
        self._check(pixels)
        device = available(self.device)
        with torch.inference_mode(), reproducible(device):
            work = _Work(self, load(self.model, device), torch.device(device), pixels)
            work.crop() if self.stitch == "crop" else work.blend()
            return work.labels.cpu().numpy(), work.confidence.cpu().numpy()

    @property
    def _reach(self) -> int:
        """How many cores away a window still sees a pixel."""
        return -(-self.halo // self.core)

    def _check(self, pixels: np.ndarray) -> None:
        bands = len(self.model.card.bands)
        if pixels.ndim != 3 or len(pixels) != bands:
            raise PredictionError(
                f"model {self.model.card.name!r} takes {bands} bands and was given an array of shape {pixels.shape}; "
                "give (band, row, col)"
            )
        inner = [edge - 2 * self.margin for edge in pixels.shape[1:]]
        if any(edge < self.core or edge % self.core for edge in inner):
            raise PredictionError(
                f"the block has {pixels.shape[1]} x {pixels.shape[2]} pixels; give whole cores of {self.core} pixels "
                f"and a margin of {self.margin} on each side"
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
) -> Predictor:
    """Settle how a model is run, and refuse here what would fail on a worker; the weights are read and checked.

    Parameters
    ----------
    model : Model
        From `card.read_model` or a catalog.
    statistics : Statistics, optional
        Of the whole imagery, its bands in the card's order; needed where the card's normalisation is 'scene'.
        A band that is constant there (std 0) is centred and not scaled.
    core, halo : int or 'auto'
        Pixels; 'auto' takes the card's window and halo.
    batch, device, threads
        See `Predictor`; 'auto' leaves them to the process that runs it.
    precision, stitch
        'auto' is float32 and crop.

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
    card = model.card
    mean, std = _numbers(model, statistics)
    ready = Predictor(
        Model(model.folder, card.model_copy(update={"training": {}, "scores": {}})),  # workers need no history
        mean,
        std,
        card.window if core == "auto" else core,
        card.halo if halo == "auto" else halo,
        0 if batch == "auto" else batch,
        "float32" if precision == "auto" else precision,
        "crop" if stitch == "auto" else stitch,
        device,
        0 if threads == "auto" else threads,
    )
    _check(ready)
    side = getattr(load(model, "cpu"), "side", None)
    if side not in (None, ready.core + 2 * ready.halo):
        raise JobError(
            f"the ONNX file of model {card.name!r} takes windows of {side} pixels only; with a halo of {ready.halo} "
            f"inference.window is {side - 2 * ready.halo}, not {ready.core}"
        )
    return ready


# --------------------------------------------------------------------------------- labelling a block


class _Work:
    """One block on its device; windows are addressed by their core's place among the block's cores."""

    def __init__(self, predictor: Predictor, network: Network, device: torch.device, pixels: np.ndarray) -> None:
        self.of, self.network, self.device = predictor, network, device
        self.margin, self.halo, self.core = predictor.margin, predictor.halo, predictor.core
        self.side = self.core + 2 * self.halo
        self.batch = predictor.batch or (1 if device.type == "cpu" else max(1, min(16, 2**21 // self.side**2)))
        raw = torch.from_numpy(np.require(pixels, np.float32, ["C", "W"])).to(device)  # (band, row, col)
        known = raw.isfinite()
        mean, std = (torch.tensor(each, device=device)[:, None, None] for each in (predictor.mean, predictor.std))
        self.pixels = torch.where(known, (raw - mean) / std, 0.0)
        self.whole = known.all(dim=0)  # (row, col)
        self.inner = Window(0, 0, pixels.shape[1] - 2 * self.margin, pixels.shape[2] - 2 * self.margin)
        self.dtype: torch.dtype = getattr(torch, predictor.precision)
        self.ids = torch.tensor(predictor.model.card.legend.ids, dtype=torch.uint8, device=device)
        self.labels, self.confidence = (torch.full_like(self.whole, NODATA, dtype=torch.uint8) for _ in range(2))

    def crop(self) -> None:
        """Each window labels its own core."""
        bad = self.whole.new_zeros(())
        for cores, labels, confidence, wrong in self._in_order(self._crop, self._cores(0)):
            for at, core in enumerate(cores):
                self.labels[self._at(core)] = labels[at]
                self.confidence[self._at(core)] = confidence[at]
            bad |= wrong
        self._refuse(bad)

    def blend(self) -> None:
        """Each window adds its weighted shares to all cores that it sees, always in the lattice's row-major order."""
        reach, weight = self.of._reach, _weight(self.core, self.halo).to(self.device)  # weight (side, side)
        sums: dict[int, Tensor] = {}  # of each row of cores that windows still add to: (class + 1, core, col)
        for cores, shares in self._in_order(self._shares, self._cores(reach)):
            for core, share in zip(cores, shares):
                for row in [row for row in sums if row + reach * self.core < core.row]:
                    self._settle(row, sums.pop(row))
                self._add(sums, core, torch.cat([share, torch.ones_like(share[:1])]) * weight)
        for row, total in sums.items():
            self._settle(row, total)

    def _cores(self, ring: int) -> list[Window]:
        """Cores of the block, and `ring` more around it, that hold at least one whole pixel."""
        around = self.inner.grown(ring * self.core)
        first = self.margin - ring * self.core
        area = self.whole[first : first + around.height, first : first + around.width]
        tiled = area.unflatten(1, (-1, self.core)).unflatten(0, (-1, self.core))  # (row, core, col, core)
        wanted = tiled.any(dim=3).any(dim=1).flatten().tolist()
        return [core for core, any_whole in zip(cut(around, self.core), wanted) if any_whole]

    def _in_order(self, work: Callable[[list[Window]], Any], cores: list[Window]) -> Iterator[Any]:
        """`work` on each batch of windows; on a CPU in threads, a few ahead, its results in order all the same."""
        batches = [cores[at : at + self.batch] for at in range(0, len(cores), self.batch)]
        if self.device.type != "cpu":
            yield from map(work, batches)
            return
        threads = min(self.of.threads or _cpus(), max(1, len(batches)))
        # One torch thread a window: how torch splits a convolution among threads changes its last bits.
        with ThreadPoolExecutor(threads, "geoseg-window", torch.set_num_threads, (1,)) as pool:
            ahead: deque[Future[Any]] = deque()
            for each in batches:
                ahead.append(pool.submit(work, each))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    @torch.inference_mode()
    def _crop(self, cores: list[Window]) -> tuple[list[Window], Tensor, Tensor, Tensor]:
        kept = slice(self.halo, self.halo + self.core)
        scores = self._scores(cores)[:, :, kept, kept]  # (window, class, core, core)
        whole = torch.stack([self.whole[self._at(core)] for core in cores])
        bad = (~scores.isfinite().all(dim=1) & whole).any()
        return cores, *self._decide(scores, scores.softmax(dim=1).amax(dim=1), whole), bad

    @torch.inference_mode()
    def _shares(self, cores: list[Window]) -> tuple[list[Window], Tensor]:
        scores = self._scores(cores)
        # softmax would turn a score of minus infinity into an honest-looking 0.
        finite = scores.isfinite().all(dim=1, keepdim=True)
        return cores, torch.where(finite, scores.softmax(dim=1), torch.nan)  # (window, class, side, side)

    def _scores(self, cores: list[Window]) -> Tensor:
        """float32 (window, class, side, side); the last pass is filled up, for shapes may round differently."""
        key = (self.of.model.card.weights.sha256, str(self.device), str(self.side))
        size = min(self.batch, _fits.get(key, self.batch))
        scores = []
        for start in range(0, len(cores), size):
            some = [self.pixels[(slice(None), *self._at(core, self.halo))] for core in cores[start : start + size]]
            stack = torch.stack(some + some[:1] * (size - len(some))).contiguous(memory_format=torch.channels_last)
            try:
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                    scores.append(self.network(stack)[: len(some)].float())
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise PredictionError(
                        f"{self.device} is out of memory for a single window of {self.side} x {self.side} pixels; "
                        "choose a smaller inference.window or another device"
                    ) from error
                _fits[key] = size // 2
                _log.warning("%s is out of memory for %d windows at once; going on with %d", *key[1:2], size, size // 2)
                break
        else:
            return torch.cat(scores)
        return self._scores(cores)

    def _decide(self, scores: Tensor, share: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and confidence from scores (window, class, row, col) and the winner's share of each pixel."""
        sure = (share * 254).round().clamp(0, 254).nan_to_num(0.0).to(torch.uint8)
        return torch.where(whole, self.ids[scores.argmax(dim=1)], NODATA), torch.where(whole, sure, NODATA)

    def _add(self, sums: dict[int, Tensor], core: Window, weighted: Tensor) -> None:
        seen = core.grown(self.halo)
        for square in cut(Window(seen.row, 0, seen.height, 1), self.core):
            strip = Window(square.row, 0, self.core, self.inner.width)
            part = strip.meet(seen)
            if part is None or strip.meet(self.inner) is None:
                continue
            if strip.row not in sums:
                sums[strip.row] = weighted.new_zeros((len(weighted), *strip.shape))
            sums[strip.row][(slice(None), *part.within(strip))] += weighted[(slice(None), *part.within(seen))]

    def _settle(self, row: int, total: Tensor) -> None:
        strip = Window(row, 0, self.core, self.inner.width)
        whole = self.whole[self._at(strip)]
        shares = total[:-1] / total[-1:]
        self._refuse((~shares.isfinite().all(dim=0) & whole).any())
        decided = self._decide(shares[None], shares.amax(dim=0)[None], whole[None])
        self.labels[self._at(strip)], self.confidence[self._at(strip)] = decided[0][0], decided[1][0]

    def _refuse(self, bad: Tensor) -> None:
        if bool(bad):
            raise PredictionError(
                f"model {self.of.model.card.name!r} gave scores that are not finite for pixels with data; "
                "look for extreme values in the imagery, or use precision float32"
            )

    def _at(self, window: Window, halo: int = 0) -> tuple[slice, slice]:
        return window.grown(halo).within(self.inner.grown(self.margin))


def _weight(core: int, halo: int) -> Tensor:
    """Weight of a window's pixels (side, side): 1 amid it, a squared sine over the overlap, nowhere 0."""
    away = torch.arange(core + 2 * halo, dtype=torch.float64) + 0.5
    ramp = torch.sin((torch.minimum(away, away.flip(0)) / max(1, 2 * halo)).clamp(max=1) * torch.pi / 2) ** 2
    return torch.outer(ramp, ramp).float()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------------------- checks at the door


def _numbers(model: Model, statistics: Statistics | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each band, whatever kind of normalisation the card asks for."""
    card = model.card
    kind, bands = card.normalisation.kind, len(card.bands)
    if kind == "none":
        return (0.0,) * bands, (1.0,) * bands
    if kind == "fixed":
        return card.normalisation.mean or (), card.normalisation.std or ()
    if statistics is None:
        raise ModelError(f"model {card.name!r} normalises by the scene's statistics and was given none; pass them")
    mean, std = tuple(map(float, statistics.mean)), tuple(map(float, statistics.std))
    if len(mean) != bands or len(std) != bands or not np.isfinite([*mean, *std]).all() or min(std) < 0:
        raise ModelError(
            f"the statistics for model {card.name!r} are mean {mean} and std {std}; "
            f"give those of its {bands} bands over imagery that has data"
        )
    return mean, tuple(each or 1.0 for each in std)


def _check(ready: Predictor) -> None:
    if ready.device != "auto":
        check_device(ready.device)
    card, stride = ready.model.card, ready.model.card.stride
    for key, value, least in (("window", ready.core, 1), ("halo", ready.halo, 0)):
        if value < least or value % stride:
            below = max(-(-least // stride) * stride, value // stride * stride)
            raise JobError(
                f"inference.{key} is {value}; model {card.name!r} needs multiples of {stride} pixels, "
                f"for instance {below} or {below + stride}"
            )
    if ready.halo < card.halo and card.field == "bounded":
        raise JobError(
            f"inference.halo is {ready.halo}, but model {card.name!r} looks {card.halo} pixels around; with less the "
            f"map would depend on where windows are cut, so use {card.halo} or 'auto'"
        )
    if ready.batch < 0 or ready.threads < 0:
        raise JobError(f"batch is {ready.batch} and threads is {ready.threads}; give positive numbers or 'auto'")
    for key, text, known in (
        ("precision", ready.precision, ("float32", "bfloat16", "float16")),
        ("stitch", ready.stitch, ("crop", "blend")),
    ):
        if text not in known:
            raise JobError(f"inference.{key} is {text!r}; choose one of {', '.join(known)} or 'auto'")

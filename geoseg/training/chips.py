"""Chips: labelled squares of scenes, drawn by chance for training.

All that chance decides of a chip is an order, plain data; a chip is made of its order and the scenes alone, in
whichever process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.grid import Window
from geoseg.training import augmentation
from geoseg.training.augmentation import Change
from geoseg.training.division import TRAIN
from geoseg.training.recipe import AugmentSpec, ChipsSpec
from geoseg.training.scenes import LabelledScene


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A chip that is to be made."""

    scene: int
    """Number of the source."""
    kind: int
    """Class of the pixel that it is drawn on."""
    number: int
    """Of that pixel among those of its class."""
    above: int
    left: int
    """How many pixels of the chip lie above and left of it."""
    turns: int
    """Quarters of a circle."""
    mirrored: bool
    change: Change
    """Its light."""
    jitter: np.ndarray
    """(2, band, 1, 1) float32: gain and offset of each band."""


class Draw:
    """Draws chips for training, the same ones in the same order for the same seed.

    A chip is drawn on a pixel of a class which is chosen first, so that rare classes are met; then turned and
    mirrored by chance, shown in another light, and each band given a random gain and offset. Scenes without a label to
    learn from are left out.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        chips: ChipsSpec,
        classes: int,
        seed: int,
        augment: AugmentSpec | None = None,
    ) -> None:
        self.chips, self.random = chips, np.random.default_rng(seed)
        self.augment = augment or AugmentSpec()
        self.sources = [each for each in scenes if each.counts(TRAIN, classes).any()]
        self.zeros = [np.broadcast_to(each.zero, len(each.pixels_in(_corner(each)))) for each in self.sources]
        self.margins = [_margin(each.window, chips.size) for each in self.sources]
        counts = np.array([each.counts(TRAIN, classes) for each in self.sources], float)
        often = np.where(counts > 0, np.maximum(counts, 1) ** (1 - chips.rarity), 0)
        self.classes = often / often.sum(axis=1, keepdims=True)
        weights = np.array([each.weight for each in self.sources])
        self.scenes = weights / weights.sum()

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """So many chips: (chip, band, row, col) float32 and (chip, row, col) int64."""
        pixels, labels = zip(*(self.made(each) for each in self.orders(number)))
        return np.stack(pixels), np.stack(labels)

    def orders(self, number: int) -> list[Order]:
        """So many orders, the next ones."""
        return [self._order() for _ in range(number)]

    def _order(self) -> Order:
        random, edge = self.random, self.chips.size
        scene = int(random.choice(len(self.scenes), p=self.scenes))
        kind = int(random.choice(self.classes.shape[1], p=self.classes[scene]))
        number = int(random.integers(len(self.sources[scene].survey().places[kind])))
        above, left, turns = (int(random.integers(most)) for most in (edge, edge, 4))
        mirrored, bands = bool(random.random() < 0.5), len(self.zeros[scene])
        change = augmentation.drawn(self.augment, bands, random)
        jitter = random.normal(0, self.chips.jitter, (2, bands, 1, 1)).astype(np.float32)
        return Order(scene, kind, number, above, left, turns, mirrored, change, jitter)

    def made(self, order: Order) -> tuple[np.ndarray, np.ndarray]:
        """The chip of an order: (band, row, col) float32 and (row, col) int64.

        Parameters
        ----------
        order
            From `orders`, of this draw or its like in another process.
        """
        edge, source, (rows, cols) = self.chips.size, self.sources[order.scene], self.margins[order.scene]
        on_row, on_col = _nth(source, order.kind, order.number)
        top, left = source.window.row - rows, source.window.col - cols
        wide = Window(top, left, source.window.height + 2 * rows, source.window.width + 2 * cols)
        row = min(max(on_row - order.above, wide.row), wide.row_end - edge)
        col = min(max(on_col - order.left, wide.col), wide.col_end - edge)
        window = Window(row, col, edge, edge)
        pixels, labels = source.seen(window), source.learnt(window)
        pixels, labels = np.rot90(pixels, order.turns, (1, 2)), np.rot90(labels, order.turns)
        if order.mirrored:
            pixels, labels = pixels[:, :, ::-1], labels[:, ::-1]
        pixels = augmentation.changed(pixels, order.change, self.zeros[order.scene])
        gain, offset = order.jitter
        return np.nan_to_num(pixels * (1 + gain) + offset, nan=0.0), labels.astype(np.int64)


def _nth(scene: LabelledScene, kind: int, number: int) -> tuple[int, int]:
    """Row and column of a pixel of a class."""
    piece, before = scene.survey().places[kind].nth(number)
    found = np.flatnonzero(scene.learnt(piece)[0] == kind)
    return piece.row, piece.col + int(found[before])


def _corner(scene: LabelledScene) -> Window:
    return Window(scene.window.row, scene.window.col, 1, 1)


def _margin(window: Window, edge: int) -> tuple[int, int]:
    """How far chips reach beyond a scene: half of one, and so far that a whole one has room."""
    rows, cols = (max(edge // 2, -(-(edge - length) // 2)) for length in window.shape)
    return rows, cols

"""Chips: labelled squares of scenes, drawn by chance for training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.training.augmentation import changed
from geoseg.training.division import TRAIN
from geoseg.training.recipe import AugmentSpec, ChipsSpec
from geoseg.training.scenes import LabelledScene


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
        edge = chips.size
        scenes = [each for each in scenes if each.counts(TRAIN, classes).any()]
        self.zeros = [each.zero for each in scenes]
        self.pixels = [_padded(each.seen(), edge, np.nan) for each in scenes]
        learnt = [np.where(each.division == TRAIN, each.labels, np.int16(-1)) for each in scenes]
        self.labels = [_padded(each, edge, -1) for each in learnt]
        self.positions = [[_where(each == kind) for kind in range(classes)] for each in self.labels]
        counts = np.array([[len(found) for found in each] for each in self.positions], float)
        often = np.where(counts > 0, np.maximum(counts, 1) ** (1 - chips.rarity), 0)
        self.classes = often / often.sum(axis=1, keepdims=True)
        weights = np.array([each.weight for each in scenes])
        self.scenes = weights / weights.sum()

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """So many chips: (chip, band, row, col) float32 and (chip, row, col) int64."""
        pixels, labels = zip(*(self._chip() for _ in range(number)))
        return np.stack(pixels), np.stack(labels)

    def _chip(self) -> tuple[np.ndarray, np.ndarray]:
        random, edge = self.random, self.chips.size
        scene = int(random.choice(len(self.scenes), p=self.scenes))
        kind = int(random.choice(self.classes.shape[1], p=self.classes[scene]))
        positions, (height, width) = self.positions[scene][kind], self.labels[scene].shape
        on_row, on_col = divmod(int(positions[random.integers(len(positions))]), width)
        row = min(max(on_row - int(random.integers(edge)), 0), height - edge)
        col = min(max(on_col - int(random.integers(edge)), 0), width - edge)
        pixels = self.pixels[scene][:, row : row + edge, col : col + edge]
        labels = self.labels[scene][row : row + edge, col : col + edge]
        turns = int(random.integers(4))
        pixels, labels = np.rot90(pixels, turns, (1, 2)), np.rot90(labels, turns)
        if random.random() < 0.5:
            pixels, labels = pixels[:, :, ::-1], labels[:, ::-1]
        pixels = changed(pixels, self.augment, self.zeros[scene], random)
        gain, offset = random.normal(0, self.chips.jitter, (2, len(pixels), 1, 1)).astype(np.float32)
        return np.nan_to_num(pixels * (1 + gain) + offset, nan=0.0), labels.astype(np.int64)


def _where(mask: np.ndarray) -> np.ndarray:
    """Positions in a flattened mask, in as few bytes as hold them."""
    found = np.flatnonzero(mask)
    return found.astype(np.uint32) if mask.size < 2**32 else found


def _padded(values: np.ndarray, edge: int, fill: float) -> np.ndarray:
    """With half a chip more around, and at least a whole chip in all; fill is what a map has there too."""
    height, width = values.shape[-2:]
    rows, cols = (max(edge // 2, -(-(edge - length) // 2)) for length in (height, width))
    around = [(0, 0)] * (values.ndim - 2) + [(rows, rows), (cols, cols)]
    return np.pad(values, around, constant_values=fill)

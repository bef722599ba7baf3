"""Chips: labelled squares of scenes, drawn by chance for training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.grid import Window
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
        pixels, labels = zip(*(self._chip() for _ in range(number)))
        return np.stack(pixels), np.stack(labels)

    def _chip(self) -> tuple[np.ndarray, np.ndarray]:
        random, edge = self.random, self.chips.size
        scene = int(random.choice(len(self.scenes), p=self.scenes))
        kind = int(random.choice(self.classes.shape[1], p=self.classes[scene]))
        source, (rows, cols) = self.sources[scene], self.margins[scene]
        on_row, on_col = _nth(source, kind, random)
        top, left = source.window.row - rows, source.window.col - cols
        wide = Window(top, left, source.window.height + 2 * rows, source.window.width + 2 * cols)
        row = min(max(on_row - int(random.integers(edge)), wide.row), wide.row_end - edge)
        col = min(max(on_col - int(random.integers(edge)), wide.col), wide.col_end - edge)
        window = Window(row, col, edge, edge)
        pixels, labels = source.seen(window), source.learnt(window)
        turns = int(random.integers(4))
        pixels, labels = np.rot90(pixels, turns, (1, 2)), np.rot90(labels, turns)
        if random.random() < 0.5:
            pixels, labels = pixels[:, :, ::-1], labels[:, ::-1]
        pixels = changed(pixels, self.augment, self.zeros[scene], random)
        gain, offset = random.normal(0, self.chips.jitter, (2, len(pixels), 1, 1)).astype(np.float32)
        return np.nan_to_num(pixels * (1 + gain) + offset, nan=0.0), labels.astype(np.int64)


def _nth(scene: LabelledScene, kind: int, random: np.random.Generator) -> tuple[int, int]:
    """Row and column of a pixel of a class, each as likely as any other."""
    places = scene.survey().places[kind]
    piece, before = places.nth(int(random.integers(len(places))))
    found = np.flatnonzero(scene.learnt(piece)[0] == kind)
    return piece.row, piece.col + int(found[before])


def _corner(scene: LabelledScene) -> Window:
    return Window(scene.window.row, scene.window.col, 1, 1)


def _margin(window: Window, edge: int) -> tuple[int, int]:
    """How far chips reach beyond a scene: half of one, and so far that a whole one has room."""
    rows, cols = (max(edge // 2, -(-(edge - length) // 2)) for length in window.shape)
    return rows, cols

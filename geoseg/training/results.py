"""Results: what a training came to, class by class, from the model's card, with what it cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.catalog.card import ModelCard
from geoseg.training import baseline
from geoseg.training.division import BEYOND, BUFFER, DIVISIONS, TEST, TRAIN, VALIDATION
from geoseg.training.scoring import Row

FEW = 100
"""Labelled pixels below which a class is not judged: even of 100 independent ones a share is known to 0.1 at best."""
HEAD = ("class", "train px", "validation px", "test px", "IoU validation", "IoU test")


def table(card: ModelCard) -> tuple[tuple[str, ...], list[tuple[str | float | int | None, ...]], list[str]]:
    """What a terminal shows of a training: column heads, a row for each class and for means, and warnings.

    Test pixels are those of the test squares and of what lies beyond the scenes' parts.

    Parameters
    ----------
    card
        Of a model that `fit.train` made.

    Returns
    -------
    heads
        Of the columns.
    rows
        Name of a class, its labelled pixels in each division, and its scores; None where a class cannot be judged. The
        last two are means: of the network, and of a random forest if the card has one.
    warnings
        Sentences.
    """
    pixels: dict[str, dict[str, int]] = card.training["labelled_pixels"]
    by_division = {DIVISIONS[VALIDATION]: "all validation", DIVISIONS[TEST]: "all unseen"}
    scores: dict[str, Any] = {kind: card.scores.get(name) for kind, name in by_division.items()}
    rows: list[tuple[str | float | int | None, ...]] = []
    for name in card.legend.names:
        counts = pixels[name]
        met = {**counts, DIVISIONS[TEST]: counts[DIVISIONS[TEST]] + counts[DIVISIONS[BEYOND]]}
        judged = [scores[kind]["iou"][name] if met[kind] >= FEW else None for kind in by_division]
        rows.append((name, *(met[DIVISIONS[kind]] for kind in (TRAIN, VALIDATION, TEST)), *judged))
    means = [scores[kind] and scores[kind]["mean_iou"] for kind in by_division]
    warnings = _warnings(rows, card)
    rows.append(("mean", *(sum(int(row[at] or 0) for row in rows) for at in (1, 2, 3)), *means))
    if forest := card.scores.get("baselines", {}).get(baseline.NAME):
        theirs = [forest[name]["mean_iou"] if name in forest else None for name in by_division.values()]
        rows.append((f"mean, {baseline.NAME}", None, None, None, *theirs))
        warnings += _beaten(dict(zip(by_division, zip(means, theirs))))
    return HEAD, rows, warnings


def line(row: Row, epochs: int) -> str:
    """An epoch in one line: losses, mean IoU and IoU of each class on validation areas, and the time taken and left.

    Parameters
    ----------
    row
        Of the learning curves.
    epochs
        How many are to be.
    """
    classes = ", ".join(f"{key.removeprefix('iou ')} {value:.3f}" for key, value in row.items() if key[:4] == "iou ")
    losses = f"loss {row['loss']:.3f}, validation loss {row['validation_loss']:.3f}"
    scores = f"mean IoU {row['mean_iou']:.3f} ({classes})"
    left = (epochs - row["epoch"]) * row["seconds"]
    rest = "" if left <= 0 else f", {left:.0f} s left" if left < 120 else f", {left / 60:.0f} min left"
    return f"epoch {row['epoch']:g} of {epochs}: {losses}, {scores}, {row['seconds']:.0f} s{rest}"


def _beaten(means: Mapping[str, tuple[float | None, float | None]]) -> list[str]:
    """A sentence where a forest is as good as the network, on what was never seen where it can be."""
    for kind in (DIVISIONS[TEST], DIVISIONS[VALIDATION]):
        ours, theirs = means[kind]
        if ours is None or theirs is None:
            continue
        if theirs < ours:
            return []
        return [
            f"a {baseline.NAME} on single pixels has mean IoU {theirs:.3f} on {kind} areas, the network {ours:.3f}: "
            "what it sees around a pixel gains nothing here yet"
        ]
    return []


def _warnings(rows: list[tuple[Any, ...]], card: ModelCard) -> list[str]:
    found = list(card.training.get("notes", ()))
    tested = any(row[3] for row in rows)
    for name, train, validation, test, *_ in rows:
        if train == 0:
            found.append(f"class {name!r} has no label to learn from; the network will not map it")
        lacking = [("validation", validation)] if validation < FEW else []
        lacking += [("test", test)] if tested and test < FEW else []
        if lacking:
            where = " and ".join(f"{met} {kind}" for kind, met in lacking)
            found.append(
                f"class {name!r} cannot be judged: its labels are {where} pixels, and {FEW} are needed at least"
            )
    if not tested:
        found.append("nothing was held out to test on; scores on what the epoch was chosen on flatter a little")
    of_all = {kind: sum(each[kind] for each in card.training["labelled_pixels"].values()) for kind in DIVISIONS}
    lost, learnt = of_all[DIVISIONS[BUFFER]], of_all[DIVISIONS[TRAIN]]
    if lost > learnt:
        chips = card.training["recipe"]["chips"]
        found.append(
            f"{lost / (lost + learnt):.0%} of the labels on training squares lie within {chips['buffer']} pixels of "
            f"what is held out and are not learnt from; larger squares than chips.square: {chips['square']} keep more"
        )
    return found

"""Reliability: a map's confidence against its accuracy, as lines and bars for a page and as figures.

Shares are 0 to 1. What accuracy.json lacks is not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure


def drawn(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the page draws in squares of 100 x 100, y downwards; None where the scores hold no reliability.

    Parameters
    ----------
    scores : mapping
        What accuracy.json holds.

    Returns
    -------
    mapping or None
        'bars' with left, width, height and the mean confidence of each bin that has pixels, 'curve' as points of
        coverage and accuracy, and both in words.
    """
    held = scores.get("reliability")
    if not held or not held["pixels"]:
        return None
    bins, coverage = held["bins"], held["coverage"]
    bars = [
        {
            "left": 100 * low,
            "width": 100 * (high - low),
            "height": 100 * accuracy,
            "at": 100 * confidence,
            "share": pixels / held["pixels"],
        }
        for low, high, pixels, confidence, accuracy in zip(
            *(bins[each] for each in ("low", "high", "pixels", "confidence", "accuracy"))
        )
        if pixels
    ]
    points = list(zip(coverage["share"], coverage["accuracy"]))
    curve = " ".join(f"{100 * share:.2f},{100 - 100 * accuracy:.2f}" for share, accuracy in points)
    text = "; ".join(
        f"{each['at']:.0f} % sure, {each['height']:.0f} % right ({each['share']:.1%} of the pixels)" for each in bars
    )
    told = "; ".join(f"of the {share:.0%} most confident pixels {right:.1%} agree" for share, right in _some(points))
    return {"bars": bars, "curve": curve, "error": held["expected_calibration_error"], "text": text, "curve_text": told}


def diagram(scores: Mapping[str, Any]) -> Figure:
    """The reliability diagram as a figure: accuracy of each bin by its mean confidence, the share of pixels below.

    Parameters
    ----------
    scores : mapping
        As for `drawn`, which is not None.
    """
    held = scores["reliability"]
    bins = held["bins"]
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    known = [at for at, pixels in enumerate(bins["pixels"]) if pixels]
    width = bins["high"][0] - bins["low"][0]
    middles = [bins["low"][at] + width / 2 for at in known]
    above.bar(middles, [bins["accuracy"][at] for at in known], width, color="#7aa6c2", edgecolor="#333333")
    above.plot((0, 1), (0, 1), color="black", linestyle="--", linewidth=1, label="as sure as right")
    above.plot(
        [bins["confidence"][at] for at in known], [bins["accuracy"][at] for at in known], "o", color="#7a2e00", ms=4,
        label="at the bin's mean confidence",
    )  # fmt: skip
    above.set(ylabel="share that agrees", xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="upper left", title=f"calibration error {held['expected_calibration_error']:.3f}", frameon=False)
    shares = [bins["pixels"][at] / held["pixels"] for at in known]
    below.bar(middles, shares, width, color="#bbbbbb", edgecolor="#333333")
    below.set(xlabel="confidence", ylabel="share of pixels")
    return figure


def curve(scores: Mapping[str, Any]) -> Figure:
    """The accuracy-coverage curve as a figure.

    Parameters
    ----------
    scores : mapping
        As for `drawn`, which is not None.
    """
    coverage = scores["reliability"]["coverage"]
    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(coverage["share"], coverage["accuracy"], color="#08458a", drawstyle="default")
    low = min(coverage["accuracy"])
    axes.set(
        xlabel="share of pixels kept, the most confident first", ylabel="share of these that agrees",
        xlim=(0, 1), ylim=(max(0.0, low - 0.05), 1.005),
    )  # fmt: skip
    axes.grid(color="#dddddd")
    return figure


def _some(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points next above a quarter, half, three quarters and all."""
    return [next(each for each in points if each[0] >= share - 1e-12) for share in (0.25, 0.5, 0.75, 1.0)]

"""Examples: windows of held-out ground with image, reference, what the network makes of it, and where it errs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from geoseg.catalog.legend import NODATA, Legend
from geoseg.models.receptive_field import Field
from geoseg.report.stretch import stretched
from geoseg.report.trained import Example
from geoseg.training.division import BEYOND, DIVISIONS, VALIDATION
from geoseg.training.evaluation import Looked
from geoseg.training.scenes import LabelledScene

MOST = 4
_SHARE = 0.5
"""Of the labelled pixels of the fullest window that one must have to be shown."""
_COLOURS = ("red", "green", "blue")


def chosen(windows: Sequence[Looked]) -> list[Looked]:
    """The windows that are shown: the worst, the best, and those between, of ground that nothing was chosen on.

    Parameters
    ----------
    windows
        All that were scored.
    """
    unseen = [each for each in windows if each.division != VALIDATION] or list(windows)
    most = max((each.pixels for each in unseen), default=0)
    full = sorted(
        (each for each in unseen if each.pixels >= _SHARE * most),
        key=lambda each: (each.right / each.pixels, each.scene, each.window),
    )
    places = sorted({round(at) for at in np.linspace(0, len(full) - 1, MOST)}) if full else []
    return [full[at] for at in places]


def shown(
    network: nn.Module,
    field: Field,
    scenes: Sequence[LabelledScene],
    legend: Legend,
    bands: Sequence[str],
    windows: Sequence[Looked],
) -> list[Example]:
    """Pictures of windows.

    Parameters
    ----------
    network, field
        In evaluation mode, on its device; how far it sees.
    scenes
        That the windows are of.
    legend
        What was learnt.
    bands
        Of the scenes, in their order.
    windows
        From `chosen`.
    """
    where = next(network.parameters()).device
    ids = np.array([*legend.ids, NODATA], np.uint8)
    found = []
    for looked in windows:
        scene, window = scenes[looked.scene], looked.window
        wide = window.snapped(field.stride).grown(field.halo)
        pixels = scene.around(wide) if looked.division == BEYOND else scene.seen(wide)
        chip = torch.from_numpy(np.nan_to_num(pixels, nan=0.0))[None].to(where)
        with torch.inference_mode():
            scores = network(chip.contiguous(memory_format=torch.channels_last))[0]
        here = np.s_[..., *window.within(wide)]
        labels, image = scores.argmax(0).cpu().numpy()[here], pixels[here]
        labels = np.where(np.isnan(image).any(axis=0), len(legend), labels)
        reference = scene.labels_in(window)
        judged = (scene.division_in(window) == looked.division) & (reference >= 0)
        wrong = np.where(judged, (labels != reference).astype(np.uint8), NODATA)
        title = f"{scene.name}, {DIVISIONS[looked.division]}: {looked.right / looked.pixels:.0%} right"
        found.append(Example(title, stretched(_image(image, bands)), ids[reference], ids[labels], wrong))
    return found


def _image(pixels: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """Three bands to look at: red, green and blue where there are all, else the first ones."""
    if all(each in bands for each in _COLOURS):
        return pixels[[list(bands).index(each) for each in _COLOURS]]
    return pixels[:3] if len(bands) >= 3 else pixels[[0, 0, 0]]

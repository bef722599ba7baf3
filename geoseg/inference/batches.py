"""Batches: how many windows a device's memory was found to hold at once, where that is fewer than asked."""

from __future__ import annotations


class Batches:
    """Of this process; kept by `process.kept`."""

    def __init__(self) -> None:
        self.fits: dict[tuple[str, str, int], int] = {}
        """By sha256 of the weights, device, and edge of a window in pixels."""

    def smallest(self, sha256: str, side: int) -> int:
        """The smallest batch found for a model on any device; 0 where all that was asked for fitted.

        Parameters
        ----------
        sha256 : str
            Of the model's weights.
        side : int
            Edge of a window, pixels.
        """
        found = [size for (model, _, edge), size in self.fits.items() if (model, edge) == (sha256, side)]
        return min(found, default=0)

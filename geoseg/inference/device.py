"""Device: a predictor's network where it runs: which device, how many windows at once, in which threads.

Nothing here can change a label: a window on a CPU goes through the network alone and with one torch thread, batches
elsewhere are filled up to one shape, and results come in the order of the windows.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geoseg.errors import PredictionError
from geoseg.grid import Window
from geoseg.inference import symmetry
from geoseg.inference.batches import Batches
from geoseg.inference.turns import Turns
from geoseg.models import devices, loading
from geoseg.process import cores, kept

if TYPE_CHECKING:
    from geoseg.inference.predictor import Predictor

_log = logging.getLogger(__name__)


class Device:
    """A predictor's network on its device."""

    def __init__(self, predictor: Predictor) -> None:
        name = devices.available(predictor.device)
        self.torch = torch.device(name)
        self.side = predictor.core + 2 * predictor.halo
        """Edge of a window, pixels."""
        self.batch = 1 if _alone(name) else predictor.batch or max(1, min(16, 2**21 // self.side**2))
        """Windows in one pass of the network."""
        self._dtype: torch.dtype = getattr(torch, predictor.precision)
        self._networks = [loading.load_asked(each.model, predictor.device) for each in predictor.members]
        self.members = range(len(self._networks))
        """Numbers of the predictor's models."""
        self.square = any(getattr(each, "graph", False) for each in self._networks)
        """Whether a network is a graph of another maker, which may take square windows only."""
        self._keys = [(card.weights.sha256, name, self.side) for card in predictor.cards]
        self._threads = predictor.threads
        self._symmetric = predictor.options.tta == "d4"

    def scores(self, windows: Sequence[Tensor], member: int = 0) -> Tensor:
        """Scores of windows, float32 (window, class, row, col); with test-time augmentation, the mean of eight passes.

        Parameters
        ----------
        windows : sequence of (band, row, col) float32
            Pixels on the device as the member takes them, all of one shape.
        member : int
            Which of the predictor's models.

        Raises
        ------
        PredictionError
            If the device's memory does not hold a single window.
        """
        if not self._symmetric:
            return self._scores(windows, member)
        return symmetry.mean(lambda how: self._scores([symmetry.turned(each, how) for each in windows], member))

    def _scores(self, windows: Sequence[Tensor], member: int) -> Tensor:
        """Scores of one pass.

        The last batch is filled up with a copy of the first window, since another shape may round differently.

        Raises
        ------
        PredictionError
            If the device's memory does not hold a single window; where it does not hold a batch, the batch is halved
            for the rest of the process.
        """
        fits, key = kept(Batches).fits, self._keys[member]
        size = min(self.batch, fits.get(key, self.batch))
        scores = []
        for start in range(0, len(windows), size):
            some = list(windows[start : start + size])
            stack = torch.stack(some + some[:1] * (size - len(some))).contiguous(memory_format=torch.channels_last)
            try:
                with torch.autocast(self.torch.type, self._dtype, enabled=self._dtype != torch.float32):
                    scores.append(self._networks[member](stack)[: len(some)].float())
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise PredictionError(
                        f"{self.torch} is out of memory for a single window of {self.side} x {self.side} pixels; "
                        "choose a smaller inference.window or another device"
                    ) from error
                fits[key] = size // 2
                _log.warning(
                    "%s is out of memory for %d windows at once; going on with %d", self.torch, size, size // 2
                )
                break
        else:
            return torch.cat(scores)
        return self._scores(windows, member)

    def in_order(self, work: Callable[[list[Window]], Any], squares: Sequence[Window]) -> Iterator[Any]:
        """`work` on each batch of cores; on a CPU in threads, a few ahead, results in order all the same.

        Parameters
        ----------
        work : callable
            Labels the windows of some cores.
        squares : sequence of Window
            Cores, any number; `work` gets `batch` of them at a time.
        """
        batches = [list(squares[at : at + self.batch]) for at in range(0, len(squares), self.batch)]
        if self.torch.type != "cpu":
            yield from map(work, batches)
            return
        most = self._threads or cores()
        threads, turns = min(most, max(1, len(batches))), kept(Turns)
        with turns.tile() as number, ThreadPoolExecutor(threads, "geoseg-window", torch.set_num_threads, (1,)) as pool:

            def in_turn(each: list[Window]) -> Any:
                with turns.window(number, most):
                    return work(each)

            ahead: deque[Future[Any]] = deque()
            for each in batches:
                ahead.append(pool.submit(in_turn, each))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()


def _alone(device: str) -> bool:
    """Whether each window passes alone: a CPU's kernels depend on the batch and round differently, and gain nothing."""
    return device == "cpu"

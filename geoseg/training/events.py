"""Events: learning curves as TensorBoard files, where tensorboard is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from geoseg.errors import JobError
from geoseg.training.scoring import Row

Progress = Callable[[int, int, Row | None], None]
FOLDER = "events"
"""In the model folder."""


def check() -> None:
    """Refuse to write what needs tensorboard where it is missing.

    Raises
    ------
    JobError
        If it is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise JobError(
            "TensorBoard files were asked for, but tensorboard is not installed; install it (pip install tensorboard), "
            "or leave it out: learning_curves.csv has the same numbers"
        )


def following(folder: Path, progress: Progress) -> Progress:
    """Write each epoch's row of the learning curves as it is told.

    Parameters
    ----------
    folder
        The model's.
    progress
        Told as before.
    """
    check()
    from torch.utils.tensorboard import SummaryWriter  # takes tensorboard, which need not be there

    def told(done: int, total: int, row: Row | None) -> None:
        progress(done, total, row)
        if row is None:
            return
        with SummaryWriter(str(folder / FOLDER), purge_step=int(row["epoch"])) as writer:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name.replace(" ", "/"), value, int(row["epoch"]))

    return told

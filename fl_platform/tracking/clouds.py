"""Clouds of a run: the Gram matrices of some rounds, from which pictures of updates are drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fl_platform.tracking.atomic import write_atomic

if TYPE_CHECKING:
    import numpy as np

FEWEST_HONEST = 4  # a picture in the plane needs three neighbours of each honest update


class Cloud(NamedTuple):
    """The Gram matrix ``(k, k)`` of honest updates, Byzantine ones and the mean, in this order.

    ``skewed`` are the indices of the honest rows among which STRIKE hides or would hide.
    """

    step: int
    gram: np.ndarray
    num_honest: int
    skewed: list[int]


def write_cloud(
    folder: Path, step: int, gram: np.ndarray, num_honest: int, skewed: Sequence[int]
) -> None:
    """Write ``cloud_<step>.npz`` below ``folder``."""
    import numpy as np

    stored = io.BytesIO()
    np.savez(stored, gram=gram, num_honest=num_honest, skewed=np.asarray(skewed, dtype=np.int64))
    write_atomic(folder / f"cloud_{step:05d}.npz", stored.getvalue(), mode=0o666)


def read_clouds(folder: Path) -> list[Cloud]:
    """The clouds below ``folder`` in the order of their rounds."""
    import numpy as np

    found = []
    for file in sorted(folder.glob("cloud_*.npz")):
        with np.load(file) as stored:
            gram, honest = stored["gram"], int(stored["num_honest"])
            skewed = [int(index) for index in stored["skewed"]]
        found.append(Cloud(int(file.stem.rpartition("_")[2]), gram, honest, skewed))
    return found

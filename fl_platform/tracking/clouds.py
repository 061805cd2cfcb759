"""Clouds of a run: Gram matrices of some rounds, for figures of the updates."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fl_platform.core.outside import OutsideError, array_headers, read_file
from fl_platform.tracking.atomic import write_atomic

if TYPE_CHECKING:
    import numpy as np

FEWEST_HONEST = 4  # an embedding in the plane requires three neighbours of each honest update


class StoredCloud(NamedTuple):
    """The Gram matrix ``(k, k)`` of honest updates, Byzantine ones and the mean, in this order.

    ``skewed`` are the indices of the honest rows in STRIKE's skewed set.
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


def cloud_files(folder: Path) -> list[Path]:
    """Files of the clouds below ``folder``, in the order of their rounds."""
    return sorted(folder.glob("cloud_*.npz"))


def read_cloud(file: Path) -> StoredCloud:
    """Read the cloud in a ``cloud_ROUND.npz``.

    Raises:
        OutsideError: a link, a file that unpacks to too many bytes, or other arrays.
    """
    import numpy as np

    content = io.BytesIO(read_file(file, "cloud"))
    headers = array_headers(file, "cloud")
    shapes = {name: shape for name, (shape, _) in headers.items()}
    gram_shape, skewed_shape = shapes.get("gram", ()), shapes.get("skewed", ())
    step = file.stem.rpartition("_")[2]
    square = len(gram_shape) == 2 and gram_shape[0] == gram_shape[1]
    listed = len(skewed_shape) == 1 and shapes.get("num_honest") == ()
    numbers = all(dtype.kind in "iuf" for _, dtype in headers.values())
    if not (square and listed and numbers and step.isdecimal() and len(step) < 10):
        raise OutsideError(
            f"{file}: expected gram, num_honest and skewed of a round, got {shapes}."
        )
    try:
        with np.load(content, allow_pickle=False) as stored:
            gram, honest = stored["gram"], int(stored["num_honest"])
            skewed = [int(index) for index in stored["skewed"]]
    except (OSError, ValueError, OverflowError, zipfile.BadZipFile, zlib.error) as error:
        raise OutsideError(f"{file}: expected a readable cloud, got: {error}") from None
    if not 0 < honest < len(gram) or not all(0 <= index < honest for index in skewed):
        raise OutsideError(f"{file}: expected honest rows of {len(gram)}, got {honest}.")
    return StoredCloud(int(step), gram, honest, skewed)

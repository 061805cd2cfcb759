"""Lightning's door to our checkpoints: ``Trainer(plugins=[DigestCheckpointIO()])``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from fl_platform.tracking.checkpoint import CheckpointFile


class DigestCheckpointIO(CheckpointIO):
    """Saves and loads through :class:`CheckpointFile`: atomic, verified, last two kept.

    Args:
        own: a run's checkpoint, whose stamp says whose it is; files at other paths have none.

    Lightning's own writer goes through ``TMPDIR``, never syncs and swallows a refused rename.
    """

    def __init__(self, own: CheckpointFile | None = None) -> None:
        self._files = {} if own is None else {own.path.absolute(): own}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Commit ``checkpoint`` at ``path``."""
        if storage_options is not None:
            raise TypeError("Expected no storage_options: checkpoints are local files.")
        file = self._file(path)
        file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.save(checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load what was committed at ``path``; never anything but tensors and plain Python."""
        if weights_only is False:
            raise ValueError("Expected weights_only=True, got False: it would run a file's code.")
        return self._file(path).load(map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove what was committed at ``path``."""
        self._file(path).remove()

    def _file(self, path: str | Path) -> CheckpointFile:
        path = Path(path).absolute()
        return self._files.setdefault(path, CheckpointFile(path))

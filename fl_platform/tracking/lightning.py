"""Lightning's logging and checkpoint files, written into the run's folder."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fl_platform.tracking.checkpoint import CheckpointFile, refuse_code
from fl_platform.tracking.history import History
from fl_platform.tracking.journal import Journal


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; numbers, booleans and text kept, the rest as text."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            result |= flat(value, f"{name}.")
        else:
            result[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return result


class JournalLogger(Logger):
    """Logger that writes the values of ``self.log`` to ``journal``, with step = round.

    Lightning's own ``epoch`` is left out, since a round is an epoch.
    """

    def __init__(self, journal: Journal, *, name: str, version: str) -> None:
        super().__init__()
        self._journal, self._name, self._version = journal, name, version

    @property
    def name(self) -> str:
        """The experiment."""
        return self._name

    @property
    def history(self) -> History:
        """The content of the journal so far, with that of earlier processes."""
        return self._journal.history

    @property
    def version(self) -> str:
        """The run's id."""
        return self._version

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append the values of one round."""
        values = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        if values:
            self._journal.metrics(0 if step is None else step, values)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Append parameters under dotted names."""
        values = flat(vars(params) if isinstance(params, Namespace) else params)
        if values:
            self._journal.note("params", values=values)

    @rank_zero_only
    def save(self) -> None:
        """Make everything logged so far durable."""
        self._journal.flush()


class DigestCheckpointIO(CheckpointIO):
    """Checkpoint files through :class:`CheckpointFile`: atomic, verified, last two kept.

    Args:
        own: a run's checkpoint with its stamp; files at other paths have none.

    Lightning's own writer uses ``TMPDIR``, never syncs and ignores a failed rename.
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
        """Load the checkpoint at ``path``; tensors and plain Python only."""
        refuse_code(weights_only)
        return self._file(path).load(map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the checkpoint at ``path``."""
        self._file(path).remove()

    def _file(self, path: str | Path) -> CheckpointFile:
        path = Path(path).absolute()
        return self._files.setdefault(path, CheckpointFile(path))

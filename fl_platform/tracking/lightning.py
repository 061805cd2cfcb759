"""Lightning's logging, written into the run's journal."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fl_platform.tracking.history import History
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.params import flat


class JournalLogger(Logger):
    """What ``self.log`` collects goes into ``journal``, with step = round.

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
        """What the journal says so far, earlier processes included."""
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

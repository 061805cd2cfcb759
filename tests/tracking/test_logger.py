from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

from fl_platform.tracking.journal import Journal, read
from fl_platform.tracking.lightning import JournalLogger


def test_lightning_logs_into_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    logger = JournalLogger(journal, name="digits", version="abc")
    logger.log_metrics({"test/accuracy": torch.tensor(0.5), "epoch": 3}, step=3)
    logger.log_metrics({"epoch": 4}, step=4)
    logger.log_hyperparams(Namespace(task={"clients": 5, "nested": {"beta": 0.5}}, seed=None))
    logger.save()
    journal.close()
    history = read(tmp_path / "journal")
    assert history.curve("test/accuracy") == [(3, 0.5)]
    assert list(history.metrics) == ["test/accuracy"]
    assert history.params == {"task.clients": 5, "task.nested.beta": 0.5, "seed": "None"}
    assert (logger.name, logger.version) == ("digits", "abc")

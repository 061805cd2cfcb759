from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from fl_platform.tracking.checkpoint import CheckpointError
from fl_platform.tracking.lightning import DigestCheckpointIO


class _Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        return ((self.weight - batch) ** 2).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def _trainer(folder: Path, epochs: int) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        default_root_dir=folder,
        plugins=[DigestCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_saves_and_resumes_through_verified_files(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    data = DataLoader(torch.ones(1, 1))
    through, first, second = _Line(), _Line(), _Line()
    _trainer(tmp_path, 4).fit(through, data)
    trainer = _trainer(tmp_path, 2)
    trainer.fit(first, data)
    trainer.save_checkpoint(path)
    assert path.read_bytes().startswith(b"fl_platform checkpoint")
    _trainer(tmp_path, 4).fit(second, data, ckpt_path=path)
    assert torch.equal(second.weight, through.weight)
    assert not torch.equal(first.weight, through.weight)

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError):
        _trainer(tmp_path, 4).fit(_Line(), data, ckpt_path=path)


def test_free_unpickling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights_only"):
        DigestCheckpointIO().load_checkpoint(tmp_path / "checkpoint.pt", weights_only=False)

"""bfloat16 in local training: every way trains on its own weights, and ends near float32's."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from fl_platform.defenses import mean
from fl_platform.federated import Aggregator, FederatedModule, LocalTraining

SETTINGS = LocalTraining(epochs=3, batch=4, lr=0.1, momentum=0.5, weight_decay=0.01, clip=2.0)
WAYS = ["sequential", "channels_last", "vmapped", "stacked"]


@pytest.fixture
def updates(images):
    def fit(way, precision):
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            model = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(64, 5),
            )  # fmt: skip
        seen = []

        class Watch(Callback):
            def on_round_end(self, trainer, module, done):
                seen.append(done.updates.matrix.clone())

        Trainer(
            max_epochs=1,
            accelerator="cpu",
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Aggregator(mean), Watch()],
        ).fit(FederatedModule(model, images, SETTINGS, way=way))
        return seen[0]

    return fit


def apart(one, other):
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("way", WAYS)
def test_updates_are_float32_near_those_of_float32(updates, way):
    rows = updates(way, "bf16-mixed")
    assert rows.dtype == torch.float32
    assert 1e-4 < apart(rows, updates(way, "32-true")) < 0.05


def test_the_comparison_notices_weights_that_stay_in_the_cache_of_autocast(updates, monkeypatch):
    monkeypatch.setattr(torch, "set_autocast_cache_enabled", lambda enabled: None)
    assert apart(updates("sequential", "bf16-mixed"), updates("sequential", "32-true")) > 0.2

"""The rates of a round count the images that clients really read."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fl_platform.config import compose
from fl_platform.federated import FederatedModule, LocalTraining, throughput
from fl_platform.federated.sampling import Cohort
from fl_platform.federated.throughput import Throughput
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(Path(__file__).resolve().parents[2] / "conf")
    return tmp_path


@pytest.mark.parametrize(
    ("adversary", "images"),
    [(None, 20), (SimpleNamespace(trains=False), 20), (SimpleNamespace(trains=True), 34)],
)
def test_byzantine_clients_count_where_they_train(
    federation, network, monkeypatch, adversary, images
):
    clients = (torch.arange(5), torch.arange(7), torch.arange(5))
    module = FederatedModule(
        network(), replace(federation, clients=clients), LocalTraining(epochs=2)
    )
    monkeypatch.setattr(throughput, "find_roles", lambda trainer: (None, adversary))
    clock = iter([8.0, 10.0])
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    watch = Throughput()
    watch.on_train_start(SimpleNamespace(), module)
    done = SimpleNamespace(cohort=Cohort((0, 2), (1,)))
    rates = watch.on_round_end(SimpleNamespace(), module, done)
    assert rates["speed/images_per_second"] == images / 2
    operations = 2 * (2 * 4 * 8) + 3 * (2 * 8 * 3)
    assert rates["speed/training_teraflops"] == pytest.approx(images / 2 * operations / 1e12)


def test_a_run_tells_them_every_round(home):
    quiet = ["runtime.tracking=journal", "runtime.progress=none", "runtime.device=cpu"]
    config = compose(["rounds=2", "task.clients=10", "attack=label_flip", *quiet], home)
    result = run(config, home)
    metrics = read(run_folder(home, result.config_hash).journal).metrics
    for name in ("speed/images_per_second", "speed/training_teraflops"):
        assert sorted(metrics[name]) == [1, 2]
        assert all(point.value > 0 for point in metrics[name].values())

"""Local training: every backend against a bare PyTorch loop, one thread, in turns.

python benchmarks/local.py                           # digits, FEMNIST network, AlexNet
python benchmarks/local.py --only digits --repeats 9 --json local.json
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.interleaved import interleaved, machine, ratios, write
from fl_platform.core import generator
from fl_platform.federated import Federation, Samples
from fl_platform.federated.client_training import Clients, LocalTraining, WayName, build_way
from fl_platform.models import femnist_cnn, mlp, resnet18, small_alexnet


@dataclass(frozen=True)
class Setting:
    """Network, images, number of clients and images per client."""

    model: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    classes: int
    clients: int
    images: int
    batch: int
    ways: tuple[WayName, ...]


CHAIN: tuple[WayName, ...] = ("sequential", "channels_last", "stacked")
SETTINGS = {
    "digits": Setting(mlp, (1, 8, 8), 10, 50, 80, 16, ("sequential", "vmapped", "stacked")),
    "femnist": Setting(femnist_cnn, (1, 28, 28), 62, 1, 512, 128, CHAIN),
    "alexnet": Setting(small_alexnet, (3, 32, 32), 10, 1, 512, 128, CHAIN),
    "resnet18": Setting(resnet18, (3, 224, 224), 12, 1, 8, 8, CHAIN[:2]),
}
SGD = LocalTraining(lr=0.01, momentum=0.9, weight_decay=1e-4, clip=2.0)


def federation(setting: Setting) -> Federation:
    draws = generator(0, "benchmark")
    count = setting.clients * setting.images
    images = torch.randint(256, (count, *setting.shape), generator=draws, dtype=torch.uint8)
    labels = torch.randint(setting.classes, (count,), generator=draws)
    channels = setting.shape[0]
    samples = Samples(images, labels, (0.5,) * channels, (0.25,) * channels)
    return Federation(samples, torch.arange(count).split(setting.images), setting.classes)


def bare_loop(model: nn.Module, clients: Clients, count: int) -> Callable[[], None]:
    """Baseline: torch.optim and normalised images in memory, one client after the other."""
    inputs, targets = clients.federation.samples.read(slice(None))
    settings = clients.settings

    def loop() -> None:
        for client in range(count):
            twin = copy.deepcopy(model)
            optimizer = torch.optim.SGD(
                twin.parameters(),
                settings.lr,
                settings.momentum,
                weight_decay=settings.weight_decay,
            )
            own = clients.federation.clients[client]
            for batch in own[torch.randperm(len(own))].split(settings.batch):
                optimizer.zero_grad()
                F.cross_entropy(twin(inputs[batch]), targets[batch]).backward()
                torch.nn.utils.clip_grad_norm_(twin.parameters(), settings.clip or 0.0)
                optimizer.step()

    return loop


def measure(setting: Setting, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    model = setting.model(setting.classes, setting.shape)
    local = LocalTraining(1, setting.batch, SGD.lr, SGD.momentum, SGD.weight_decay, SGD.clip)
    clients = Clients(federation(setting), local)
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    start = (flat, [b.clone() for b in model.buffers()])
    rows = {way: torch.empty(setting.clients, len(flat)) for way in setting.ways}
    ids = range(setting.clients)

    def trained(way: WayName) -> Callable[[], Tensor]:
        trainer = build_way(way, model, clients)
        return lambda: trainer.train(ids, 0, start, rows[way])

    todo: dict[str, Callable[[], object]] = {"bare": bare_loop(model, clients, setting.clients)}
    todo |= {way: trained(way) for way in setting.ways}
    seconds = interleaved(todo, repeats)
    reference = rows["sequential"]
    images = setting.clients * setting.images
    return {
        "times the bare loop": {k: round(v, 3) for k, v in ratios(seconds, "bare").items()},
        "times sequential": {k: round(v, 3) for k, v in ratios(seconds, "sequential").items()},
        "images per second": {k: round(images / min(v)) for k, v in seconds.items()},
        "relative difference": {
            way: float((row - reference).norm() / reference.norm()) for way, row in rows.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=SETTINGS, default=["digits", "femnist", "alexnet"]
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(SETTINGS[name], asked.repeats) for name in asked.only}
    write({"machine": machine(), **found}, asked.json)


if __name__ == "__main__":
    main()

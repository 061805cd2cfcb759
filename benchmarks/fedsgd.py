"""Rounds of FedSGD per second: ours, a plain loop, and ByzFL's own Client and Server.

    python benchmarks/fedsgd.py                       # 25 clients, cnn_mnist and the bucketing CNN
    python benchmarks/fedsgd.py --only cnn_mnist --rounds 4 --repeats 5 --json fedsgd.json

A round is one batch of 32 at each client, momentum 0.9 kept at the worker, the mean, and one step
of the server; nothing is evaluated. All read the same batches of images in memory. The plain loop
has one network, one client after the other, and a matrix of gradients. ByzFL runs where it is
installed (``pip install byzfl==0.0.11``). One process, one thread, in turns, processor seconds.
``ours`` is the whole round through Lightning's trainer; ``ours, training`` the clients alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.interleaved import machine, ratios, write
from fl_platform.core import generator
from fl_platform.defenses import mean
from fl_platform.federated import Aggregator, FederatedModule, Federation, LocalTraining, Samples
from fl_platform.federated.client_training import WayName, choose
from fl_platform.federated.client_training.batches import batches, stream
from fl_platform.models import bucketing_cnn, cnn_mnist

CLIENTS, BATCH, BETA, RATE = 25, 32, 0.9, 0.01
SGD = LocalTraining(batch=BATCH, steps=1, walk="cycling", lr=1.0, momentum=0.0, clip=None)
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cnn_mnist": cnn_mnist,
    "bucketing_cnn": bucketing_cnn,
}
Batches = list[list[tuple[Tensor, Tensor]]]  # of each round, of each client


def federation() -> Federation:
    draws = generator(0, "benchmark")
    count = CLIENTS * 10 * BATCH
    images = torch.randint(256, (count, 1, 28, 28), generator=draws, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=draws)
    samples = Samples(images, labels, (0.1307,), (0.3081,))
    return Federation(samples, torch.arange(count).split(10 * BATCH), 10)


def in_memory(held: Federation, rounds: int) -> Batches:
    """The batches that our clients read, ready for the others."""
    return [
        [
            held.samples.read(next(batches(own, SGD, stream(0, t, i), False, torch.device("cpu"))))
            for i, own in enumerate(held.clients)
        ]
        for t in range(rounds)
    ]


def plain(network: nn.Module, read: Batches) -> Callable[[], None]:
    """One model, one client after the other, as a person writes it."""
    parameters = list(network.parameters())
    kept = torch.zeros(CLIENTS, sum(p.numel() for p in parameters))
    optimizer = torch.optim.SGD(parameters, lr=RATE)

    def loop() -> None:
        for clients in read:
            for client, (inputs, targets) in enumerate(clients):
                optimizer.zero_grad()
                F.cross_entropy(network(inputs), targets).backward()
                gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
                kept[client].mul_(BETA).add_(gradient)
            step, start = kept.mean(0), 0
            for p in parameters:
                p.grad = step[start : start + p.numel()].view_as(p)
                start += p.numel()
            optimizer.step()

    return loop


class _Lap(Callback):
    """Processor seconds of the rounds, without setting up the trainer."""

    def __init__(self) -> None:
        self.seconds, self.local, self.since = 0.0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.since = time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds += time.process_time() - self.since


def ours(network: nn.Module, held: Federation, way: WayName, rounds: int) -> Callable[[], _Lap]:
    """The platform's round, through the trainer."""

    def run() -> _Lap:
        lap = _Lap()
        module = FederatedModule(
            network,
            held,
            SGD,
            worker_momentum=BETA,
            server=lambda p: torch.optim.SGD(p, lr=RATE),
            way=way,
        )
        train = module._train

        def timed(*given: Any) -> Any:
            before = time.process_time()
            done = train(*given)
            lap.local += time.process_time() - before
            return done

        module._train = timed  # type: ignore[method-assign]
        trainer = Trainer(
            max_epochs=rounds + 1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Aggregator(mean), _Warm(lap), lap],
        )
        trainer.fit(module)
        return lap

    return run


class _Warm(Callback):
    """Forgets the first round, in which memory is laid out."""

    def __init__(self, lap: _Lap) -> None:
        self.lap = lap

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            self.lap.seconds = self.lap.local = 0.0


def byzfl(name: str, read: Batches) -> Callable[[], None]:
    """ByzFL's Client and Server; its loop without evaluation.

    Its networks end in a log-softmax. For the bucketing paper's, which it has not, ours stands in.
    """
    from byzfl import Client, Server
    from byzfl.fed_framework import models

    if not hasattr(models, name):
        setattr(models, name, lambda: network_of(name))
    common = {
        "model_name": name,
        "device": "cpu",
        "optimizer_name": "SGD",
        "learning_rate": RATE,
        "loss_name": "NLLLoss" if name == "cnn_mnist" else "CrossEntropyLoss",
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
        "LabelFlipping": False,
        "nb_labels": 10,
        "momentum": BETA,
        "store_per_client_metrics": False,
    }
    clients = [
        Client(common | {"training_dataloader": DataLoader([b[i] for b in read], batch_size=None)})
        for i in range(CLIENTS)
    ]
    aggregator = {"aggregator_info": {"name": "Average", "parameters": {}}, "pre_agg_list": []}
    server = Server(common | aggregator | {"test_loader": DataLoader([0])})

    def loop() -> None:
        for _ in read:
            for client in clients:
                client.set_model_state(server.get_dict_parameters())
                client.compute_gradients()
            sent = [client.get_flat_gradients_with_momentum() for client in clients]
            server.update_model_with_gradients(sent)

    return loop


def network_of(name: str) -> nn.Module:
    """The network without dropout, whose draws would differ from one program to the next."""
    network = NETWORKS[name](10, (1, 28, 28))
    for layer in network.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.p = 0.0
    return network


def undropped(network: nn.Module) -> nn.Module:
    """A chain without the layers of dropout, which at 0 pass numbers on."""
    assert isinstance(network, nn.Sequential)
    kept = [layer for layer in network if not isinstance(layer, nn.Dropout | nn.Dropout2d)]
    return nn.Sequential(*kept)


def timed(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(name: str, way: str, rounds: int, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    held, network = federation(), undropped(network_of(name))
    chosen = choose(way, torch.device("cpu"), network, (1, 28, 28), BATCH).way
    read = in_memory(held, rounds)
    loop, round_ = plain(undropped(network_of(name)), read), ours(network, held, chosen, rounds)
    other = byzfl(name, read) if importlib.util.find_spec("byzfl") else None
    seconds: dict[str, list[float]] = {}
    for repeat in range(repeats + 1):
        lap = round_()
        found = {"plain": timed(loop), "ours": lap.seconds, "ours, training": lap.local}
        if other is not None:
            found["ByzFL"] = timed(other)
        for key, value in found.items():
            seconds.setdefault(key, []).extend([value] if repeat else [])
    return {
        "way": chosen,
        "rounds per second": {k: round(rounds / min(v), 3) for k, v in seconds.items()},
        "times the plain loop": {k: round(v, 2) for k, v in ratios(seconds, "plain").items()},
        "ours over ByzFL": round(ratios(seconds, "ByzFL")["ours"], 2) if other else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--way", default="auto", help="how our clients train")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    found = {name: measure(name, asked.way, asked.rounds, asked.repeats) for name in asked.only}
    write({"machine": machine(), **found}, asked.json)


if __name__ == "__main__":
    main()

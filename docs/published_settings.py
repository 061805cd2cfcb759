"""List the settings of published evaluations, each composed and built, or refused with a reason.

    python docs/published_settings.py             # one line per cell, then the counts
    python docs/published_settings.py --refused   # those that are refused alone

A cell is one entry of a paper's experimental setup, as its authors' code has it. Nothing is
trained and no data are read: a cell is accepted where its overrides compose, and where its rules,
schedules and network are built from them. Whether a published number is reproduced is another
question. The reasons of those that are refused stand in docs/settings.md.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch

from fl_platform.config import ConfigError, build_rule, compose
from fl_platform.config.schema import Config, schedule_of
from fl_platform.run.build import build_roles, local_training

ROOT = Path(__file__).resolve().parents[1]

BUCKETING = ["task=mnist", "model=bucketing_cnn", "local=fedsgd", "task.clients=25"]
BUCKETING += ["byzantine.count=5", "server.lr=0.01", "attack=ipm"]
BYZFL = ["task=mnist", "model=cnn_mnist", "local=fedsgd", "task.clients=14", "byzantine.count=4"]
BYZFL += ["byzantine.data=none", "attack=ipm", "server.lr=0.1"]
NDSS = ["task=cifar10", "partition=iid", "local=fedsgd", "task.clients=50", "byzantine.count=10"]
NDSS += ["attack=min_max", "server.lr=0.5"]
BLADES = ["task=cifar10", "local=fedsgd", "task.clients=60", "byzantine.count=12", "attack=lie"]
POISON = ["task=cifar10", "local=fedsgd", "task.clients=20", "byzantine.fraction=0.2", "attack=lie"]

# Of each paper: what it has, and the overrides beside the paper's own; a tuple of them for an
# entry of several, of which all have to be accepted; a text for one that is refused, and why.
Entry = list[str] | tuple[list[str], ...] | str
Settings = dict[str, Entry]
PAPERS: dict[str, tuple[list[str], Settings]] = {
    "Karimireddy, He, Jaggi 2022 (bucketing)": (
        BUCKETING,
        {
            "MNIST": [],
            "the CNN with dropout": ["model.dropout=0.5", "model.channel_dropout=0.25"],
            "25 clients, 5 Byzantine": ["task.clients=25", "byzantine.count=5"],
            "24 clients, none Byzantine": ["attack=none", "task.clients=24", "byzantine.count=0"],
            "53 clients, 5 Byzantine": ["task.clients=53"],
            "20 clients, 3 Byzantine": ["task.clients=20", "byzantine.count=3"],
            "sorted by label": ["partition=sorted", "byzantine.data=iid"],
            "dealt to honest clients, IID to Byzantine": ["byzantine.data=iid"],
            "long tail": ["partition=long_tail", "partition.keep=0.6", "partition.order=sorted"],
            "one batch of 32": ["task.local.batch=32"],
            "drop_last": ["task.local.drop_last=true"],
            "600 rounds, evaluation each 30, 3 seeds": [
                "rounds=600", "evaluation.every=30", "seed=2",
            ],
            "rate 0.01": ["server.lr=0.01"],
            "no decay, no clipping": ["server.weight_decay=0", "task.local.clip=null"],
            "no momentum": ["worker.momentum=0"],
            "undamped worker momentum 0.9": ["worker.momentum=0.9", "worker.dampening=0"],
            "mean": ["defense=mean"],
            "Krum on squared distances squared": ["defense=krum", "defense.distance_power=4"],
            "lower median": ["defense=median", "defense.kind=lower"],
            "RFA, 8 steps from zero, eps 0.1": [
                "defense=rfa", "defense.start=zero", "defense.iterations=8", "defense.eps=0.1",
            ],
            "centered clipping, tau 10": ["defense=centered_clipping", "defense.tau=10"],
            "centered clipping, tau 100, 3 iterations": [
                "defense=centered_clipping", "defense.tau=100", "defense.iterations=3",
            ],
            "bucketing, s 2": ["mixing=bucketing", "mixing.s=2"],
            "bucketing, s 3": ["mixing=bucketing", "mixing.s=3"],
            "bucketing, s 5": ["mixing=bucketing", "mixing.s=5"],
            "bit flip": ["attack=bit_flip"],
            "label flip": ["attack=label_flip"],
            "mimic, warm-up of one round": ["attack=mimic", "attack.warmup=1"],
            "IPM, eps 0.1": ["attack=ipm", "attack.scale=0.1"],
            "ALIE, z from n and m": ["attack=lie", "attack.z_from=baruch"],
        },
    ),
    "ByzFL 2025, Allouah 2023 (NNM), Farhadkhani 2022 (RESAM)": (
        BYZFL,
        {
            "DSGD, 800 steps, evaluation each 50": ["rounds=800", "evaluation.every=50"],
            "federated averaging": ["task.local.steps=5", "task.local.lr=0.1", "server.lr=1"],
            "10 honest, 4 Byzantine": ["task.clients=14", "byzantine.count=4"],
            "17 clients, 8 Byzantine": ["task.clients=17", "byzantine.count=8", "defense=median"],
            "20 clients, 10 Byzantine": [
                "task.clients=20", "byzantine.count=10", "defense=median", "defense.assumed_f=9",
            ],
            "tolerated f apart from the true one": ["defense=krum", "defense.assumed_f=3"],
            "gamma-similarity": ["partition=gamma_similarity", "partition.gamma=0.33"],
            "extreme": ["partition=sorted"],
            "Dirichlet, alpha 1": ["partition=dirichlet", "partition.beta=1"],
            "dealt to honest clients alone": ["byzantine.data=none"],
            "cnn_mnist": ["model=cnn_mnist"],
            "Fashion-MNIST": ["task=fashion_mnist"],
            "CIFAR-10 and CIFAR-100, crop and flip": tuple(
                [f"task={task}", "model=resnet20", "task.local.crop=4", "task.local.flip=true"]
                for task in ("cifar10", "cifar100")
            ),
            "batch of 25": ["task.local.batch=25"],
            "milestones and decay": [
                "server.schedule.kind=milestones", "server.schedule.at=[200,400]",
                "server.schedule.factor=0.5",
            ],
            "0.75 / (1 + floor(t / 50))": [
                "server.lr=0.75", "server.schedule.kind=inverse", "server.schedule.period=50",
            ],
            "damped worker momentum": ["worker.momentum=0.9", "worker.dampening=0.9"],
            "weight decay at the server": ["server.weight_decay=1e-4"],
            "clipping at 2": ["task.local.clip=2"],
            "geometric median, MeaMed": (
                ["defense=rfa", "defense.start=zero", "defense.iterations=3", "defense.eps=0.1"],
                ["defense=mea_med"],
            ),
            "MoNNA": ["defense=monna"],
            "CAF": ["defense=caf"],
            "SMEA": ["defense=smea"],
            "NNM, bucketing": (["mixing=nnm", "defense=trimmed_mean"], ["mixing=bucketing"]),
            "clipping before the rule": ["mixing=clipping", "mixing.c=2"],
            "ARC": ["mixing=arc"],
            "optimal IPM and ALIE": (
                ["attack=optimal_ipm", "attack.evaluations=20"],
                ["attack=optimal_alie", "attack.evaluations=20"],
            ),
            "Inf and Gaussian": (["attack=inf"], ["attack=gaussian", "attack.sigma=1"]),
            "20 % validation, training seeds by data seeds": [
                "task.validation=0.2", "data.seed=1", "seed=4",
            ],
        },
    ),
    "Shejwalkar, Houmansadr 2021 (NDSS)": (
        NDSS,
        {
            "CIFAR-10, IID, 50 clients, 10 Byzantine": [],
            "FEMNIST, 60 writers, full gradient, Adam": [
                "task=femnist", "task.clients=3400", "byzantine.count=680", "partition=writer",
                "task.clients=null", "byzantine.count=null", "byzantine.fraction=0.2",
                "task.sampled=60", "task.local.batch=100000", "server.optimizer=fedadam",
                "server.lr=0.001", "server.eps=1e-8", "server.beta2=0.999",
            ],
            "Purchase100": ["task=tabular", "task.data.file=purchase100.npz"],
            "MNIST, Fang's q": ["task=mnist", "partition=fang_q", "partition.q=0.5"],
            "AlexNet": ["model=small_alexnet"],
            "VGG-11": ["model=vgg11"],
            "perceptron for 600 features": [
                "task=tabular", "task.data.file=purchase100.npz", "model=mlp", "model.hidden=1024",
            ],
            "one batch of 250": ["task.local.batch=250"],
            "rate 0.5, halved at round 1000 of 1200": [
                "rounds=1200", "server.schedule.kind=milestones", "server.schedule.at=[1000]",
                "server.schedule.factor=0.5",
            ],
            "min-max and min-sum by halving": tuple(
                [f"attack={attack}", "attack.search=halving"] for attack in ("min_max", "min_sum")
            ),
            "AGR-tailored": ["attack=agr_tailored"],
            "own data known alone": ["attack.knowledge=own"],
            "Multi-Krum, Bulyan, DnC": (
                ["defense=multi_krum", "defense.averaged=n-2f-2"], ["defense=bulyan"],
                ["defense=dnc"],
            ),
            "best validation": ["task.validation=0.1"],
        },
    ),
    "Blades 2024": (
        BLADES,
        {
            "60 clients, 6 to 18 adversaries": ["byzantine.count=18"],
            "FedSGD": [],
            "20 local batches": ["task.local.steps=20", "task.local.lr=0.1", "server.lr=1"],
            "piecewise server rate": [
                "rounds=2000",
                "server.schedule={kind: piecewise, points: [[0, 0.1], [1500, 0.1], [1501, 0.01]]}",
            ],
            "UCI-HAR": ["task=tabular", "task.data.file=har.npz"],
            "SignGuard": ["defense=sign_guard"],
            "noise attack": ["attack=gaussian"],
            "CCT": "compact transformer",
            "differential privacy": "differential privacy",
            "ClippedClustering": "ClippedClustering",
        },
    ),
    "FLPoison 2025": (
        POISON,
        {
            "FedSGD, CIFAR-10, 20 clients": [],
            "ResNet-18": ["model=resnet18", "model.stem=small", "model.norm=group"],
            "milestones, attack from epoch 41": [
                "server.schedule.kind=milestones", "server.schedule.at=[50,80]",
                "attack.schedule.start=41",
            ],
            "two classes per client": ["partition=k_classes", "partition.k=2"],
            "FLTrust": ["defense=fltrust", "task.root_samples=100"],
            "FoolsGold, FLAME, FLDetector, norm clipping": tuple(
                [f"defense={rule}"] for rule in ("foolsgold", "flame", "fl_detector", "norm_bound")
            ),
            "CIFAR-100, TinyImageNet, CINIC-10": (
                ["task=cifar100"], ["task=arrays", "task.data.file=tiny_imagenet.npz"],
                ["task=arrays", "task.data.file=cinic10.npz"],
            ),
            "BadNets": "backdoors",
        },
    ),
}  # fmt: skip
SHAPES = {"tabular": (600,), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}


def cells() -> Iterator[tuple[str, str, list[list[str]] | str]]:
    """Paper, entry, and its lists of overrides or the reason for which it is refused."""
    for paper, (common, entries) in PAPERS.items():
        for entry, own in entries.items():
            several = own if isinstance(own, str | tuple) else (own,)
            refused = isinstance(several, str)
            yield paper, entry, several if refused else [merged(common, one) for one in several]


def merged(common: list[str], own: list[str]) -> list[str]:
    """The paper's overrides with those of the entry in place of the same keys; groups first."""
    found = dict(text.partition("=")[::2] for text in [*common, *own])
    texts = [f"{key}={value}" for key, value in found.items()]
    return sorted(texts, key=lambda text: "." in text.partition("=")[0])


def built(overrides: list[str]) -> Config:
    """The configuration, after building what needs no data.

    Raises:
        ConfigError: it cannot be run as it stands.
    """
    config = compose(overrides, ROOT)
    build_roles(config)
    local_training(config.task.local)
    schedule_of(config.server.schedule)
    shape = SHAPES.get(config.task.name, (1, 28, 28))
    with torch.device("meta"):
        build_rule(config.task.model)(100, shape)
    return config


@dataclasses.dataclass(frozen=True)
class Count:
    """How many cells are accepted, are refused with a reason, and fail without one."""

    accepted: int = 0
    refused: int = 0
    failed: int = 0


def report(refused_alone: bool = False) -> Count:
    """Print a line per cell and the counts."""
    count = {"accepted": 0, "refused": 0, "failed": 0}
    for paper, entry, what in cells():
        verdict, told = "refused", str(what)
        if not isinstance(what, str):
            verdict = "accepted"
            told = "; ".join("fl-platform run " + " ".join(overrides) for overrides in what)
            try:
                for overrides in what:
                    built(overrides)
            except ConfigError as error:
                verdict, told = "failed", str(error)
        count[verdict] += 1
        if verdict != "accepted" or not refused_alone:
            print(f"{verdict:8}  {paper.partition(' ')[0]:12} {entry}: {told}")
    found = Count(**count)
    print(
        f"{found.accepted} accepted, {found.refused} refused with a reason, {found.failed} failed"
    )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--refused", action="store_true", help="print what is refused alone")
    raise SystemExit(bool(report(parser.parse_args().refused).failed))

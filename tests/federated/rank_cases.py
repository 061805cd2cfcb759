"""Runs of a few rounds that one process and several must end alike; also the several.

``python -m tests.federated.rank_cases SIZE FILE`` forks SIZE processes that run every case as
Lightning's DDP over gloo, one after the other, and leave what each ended with in ``FILE.<rank>``.
"""

import copy
import functools
import os
import socket
import sys

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from fl_platform import attacks, defenses
from fl_platform.core import generator
from fl_platform.defenses.mixing import Bucketing, nnm
from fl_platform.federated import Aggregator, FederatedModule, Federation, LocalTraining, Samples
from fl_platform.federated.callbacks.metrics import Diagnosis, Evaluator, Robustness, Skew
from fl_platform.federated.callbacks.roles import adversary
from fl_platform.federated.distributed import Ranks
from fl_platform.federated.module import Diverged
from fl_platform.models import mlp

CLIENTS = 11  # an odd number for two processes, and d = 2,335 is odd as well


def blinding(honest, num_byzantine):
    """One coordinate of the first half is no number: the other process has to be told."""
    rows = honest.mean().expand(num_byzantine, -1).clone()
    if honest.dot(torch.ones_like(rows[0]), torch.ones_like(rows[0])) == rows.shape[1]:
        rows[:, 0] = torch.nan
    else:
        rows[:, 0] = torch.nan if not rank() else rows[0, 0]
    return rows


blinding.shardable = True


def rank():
    return int(os.environ.get("LOCAL_RANK", 0))


CASES = {
    "mean": {"rule": defenses.mean},
    "strike": {"attack": attacks.strike, "rule": defenses.multi_krum},
    "min_max": {"attack": attacks.min_max, "rule": defenses.rfa},
    "ipm": {"attack": attacks.ipm, "rule": defenses.median},
    # Not at nu = 1: the row then lies as far from a row of S as the two farthest rows of S lie
    # apart, and which of two equal distances NNM finds smaller is decided by rounding.
    "mixed": {"attack": attacks.strike(nu=0.9), "rule": defenses.trimmed_mean, "mixings": [nnm]},
    "sampled": {"attack": attacks.lie, "rule": defenses.bulyan, "sampled": 9},
    "few": {"attack": attacks.min_sum, "rule": defenses.rfa, "sampled": 1},
    "queried": {"attack": attacks.fang, "rule": defenses.multi_krum, "mixings": [Bucketing(s=1)]},
    "krum": {"attack": attacks.fang_krum, "rule": defenses.krum},
    "clipped": {
        "attack": attacks.bit_flip,
        "rule": defenses.centered_clipping(tau=0.1, iterations=2, memory=False),
    },
    "labels": {"attack": attacks.label_flip, "rule": defenses.mda},
    "own": {"attack": attacks.strike, "rule": defenses.aksel, "knowledge": "own"},
    "gated": {"attack": blinding, "rule": defenses.mean},
    "statistics": {"attack": attacks.ipm, "rule": defenses.multi_krum, "norm": True},
    "buffers": {"attack": attacks.ipm, "rule": defenses.median, "norm": True, "state": "all"},
}


def samples(count, name):
    stream = generator(0, "rank-cases", name == "test")
    centres = torch.randn(10, 64, generator=generator(0, "rank-cases", 2))
    targets = torch.randint(10, (count,), generator=stream)
    inputs = centres[targets] + torch.randn(count, 64, generator=stream)
    return Samples(inputs.view(count, 1, 8, 8), targets)


def build(*, norm=False, **options):
    sizes = [3 + (5 * client) % 7 for client in range(CLIENTS)]
    federation = Federation(samples(sum(sizes), "train"), torch.arange(sum(sizes)).split(sizes), 10)
    torch.manual_seed(0)
    model = mlp(10, (1, 8, 8), hidden=31)
    if norm:
        model.insert(2, torch.nn.BatchNorm1d(31))
    local = LocalTraining(batch=4, lr=0.05, momentum=0.5)
    return FederatedModule(model, federation, local, byzantine=0.2, **options)


class Kept(Logger):
    """Keeps what the module logs."""

    name, version = "kept", 0

    def __init__(self):
        self.rounds = []

    def log_metrics(self, metrics, step=None):
        self.rounds.append({k: v for k, v in metrics.items() if not k.startswith("time/")})

    def log_hyperparams(self, params, *rest):
        pass


def run(case, *, rounds=3, size=1, resume=None, save=None):
    """What a case ends with: weights and buffers, metrics, and the rows that were held."""
    options = copy.deepcopy(case)
    rule, mixings = options.pop("rule"), options.pop("mixings", ())
    attack, knowledge = options.pop("attack", None), options.pop("knowledge", "all")
    roles = [Aggregator(rule, mixings)]
    if attack is not None:
        roles.append(adversary(attack, knowledge=knowledge))
    module = build(**options)
    watch = [Diagnosis(), Skew(2), Robustness(2, None), Evaluator({"test": samples(50, "test")})]
    kept = Kept()
    trainer = Trainer(
        max_epochs=rounds,
        accelerator="cpu",
        devices=size,
        strategy=DDPStrategy(process_group_backend="gloo") if size > 1 else "auto",
        plugins=[LightningEnvironment()],
        logger=kept,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*roles, *watch],
    )
    try:
        trainer.fit(module, ckpt_path=resume, weights_only=True)
        ended = "finished"
    except Diverged as reason:
        ended = str(reason)
    if save is not None:
        trainer.save_checkpoint(save)
    state = torch.cat([t.reshape(-1).double() for t in module.model.state_dict().values()])
    held = module._received if size > 1 else module._rows
    return {
        "state": state,
        "metrics": kept.rounds,
        "held": tuple(held.shape),
        "own": len(module._rows),
        "ended": ended,
    }


def unsummed(self, part):
    """A missing all-reduce: every process takes its own coordinates for all."""
    return part if part.is_floating_point() else self._reduced(part, torch.distributed.ReduceOp.SUM)


def only_on_process_0(evaluate, *arguments):
    score = evaluate(*arguments)
    return type(score)(score.accuracy, float("nan"), score.per_class)


def follow(local_rank, size, port, path):
    from fl_platform.federated.callbacks import metrics as observers

    os.environ |= {
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    results = {name: run(case, size=size) for name, case in CASES.items()}
    run(CASES["queried"], rounds=2, size=size, save=f"{path}.ckpt")
    results["resumed"] = run(CASES["queried"], size=size, resume=f"{path}.ckpt")
    whole, Ranks.sum = Ranks.sum, unsummed
    results["without sums"] = run(CASES["strike"], size=size)
    Ranks.sum = whole
    observers.evaluate = functools.partial(only_on_process_0, observers.evaluate)
    results["diverged"] = run(CASES["mean"], size=size)
    torch.save(results, f"{path}.{local_rank}")
    torch.distributed.destroy_process_group()


def main(size, path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("fork")  # torch and Lightning are imported once
    children = [context.Process(target=follow, args=(r, size, port, path)) for r in range(size)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(max(abs(child.exitcode) for child in children))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

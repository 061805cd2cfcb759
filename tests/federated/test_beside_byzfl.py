"""FedSGD beside ByzFL's own Client and Server on the same batches, round by round.

Runs where ByzFL is installed: ``pip install byzfl==0.0.11``. The networks start from the same
weights; 40 rounds of one batch at each of 13 workers, momentum 0.9 damped by as much, weight decay
and a rate that is halved twice. The figure is the relative distance of the servers' parameters.

A rule that chooses rows decides by comparing sums of distances. Where two of them are as near as
float32 rounds, the two programs may choose different rows, and both are right. So it is with a
ReLU whose input is as near to zero, which is open in one program and shut in the other. Rounds are
compared until the first such tie (`tie`, `kink`), and a case has to have at least eight of them.
"""

import math
import os

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from fl_platform import attacks, defenses
from fl_platform.core import Updates
from fl_platform.core.schedules import Milestones
from fl_platform.federated import (
    Aggregator,
    FederatedModule,
    Federation,
    LocalTraining,
    Samples,
    adversary,
)
from fl_platform.federated.client_training.batches import batches, stream
from fl_platform.models import fc_mnist

pytest.importorskip("byzfl", reason="ByzFL is not installed: pip install byzfl==0.0.11")
from byzfl import ByzantineClient, Client, Server

N, F, ROUNDS, BATCH, BETA, RATE, DECAY, MILESTONES = 13, 3, 40, 25, 0.9, 0.1, 1e-4, [15, 30]
LOCAL = LocalTraining(batch=BATCH, steps=1, walk="cycling", lr=1.0, momentum=0.0, clip=None)
FAR = 1e-6  # the largest relative distance before a tie
NEAR = 1e-4  # relative distance of two scores below which a choice of rows is a tie

ATTACKS = {  # ours, ByzFL's
    "sign flip": (attacks.ipm(scale=1.0), ("SignFlipping", {})),
    "IPM": (attacks.ipm(scale=0.5), ("InnerProductManipulation", {"tau": 0.5})),
    "ALIE": (
        attacks.lie(z=1.5, side="above", ddof=1),
        ("ALittleIsEnough", {"tau": 1.5}),
    ),
    "optimal ALIE": (
        attacks.optimal_alie(side="above", ddof=1, search="byzfl", evaluations=6),
        ("Optimal_ALittleIsEnough", {"f": F, "evals": 6}),
    ),
    "label flip": (attacks.label_flip(), None),
}
RULES = {  # ours, mixings, ByzFL's rule and pre-aggregation
    "trimmed mean": (defenses.trimmed_mean, [], "TrMean", {"f": F}, []),
    "median": (defenses.median, [], "Median", {}, []),
    "geometric median": (
        defenses.rfa(iterations=3, eps=1e-9, start="zero"),
        [],
        "GeometricMedian",
        {"nu": 1e-9, "T": 3},
        [],
    ),
    "Multi-Krum": (
        defenses.multi_krum(neighbors="n-f-1", averaged="n-f"),
        [],
        "MultiKrum",
        {"f": F},
        [],
    ),
    "NNM + trimmed mean": (
        defenses.trimmed_mean,
        [defenses.nnm()],
        "TrMean",
        {"f": F},
        [{"name": "NNM", "parameters": {"f": F}}],
    ),
}


def federation():
    """Thirteen workers with 100 images each of ten classes, one class more often than others."""
    draws = torch.Generator().manual_seed(0)
    targets = torch.randint(10, (N * 100,), generator=draws)
    for client in range(N):
        targets[client * 100 : client * 100 + 30] = client % 10
    centres = torch.rand(10, 1, 28, 28, generator=draws)
    inputs = 0.5 * centres[targets] + 0.5 * torch.rand(N * 100, 1, 28, 28, generator=draws)
    return Federation(Samples(inputs, targets), torch.arange(N * 100).split(100), 10)


class Kept(Callback):
    def __init__(self):
        self.rows, self.weights = [], []

    def on_round_end(self, trainer, module, done):
        self.rows.append(done.updates.matrix.double().clone())
        self.weights.append(flat(module.model.parameters()))


def flat(parameters):
    return torch.cat([p.detach().reshape(-1) for p in parameters]).double()


def ours(network, held, attack, rule, mixings):
    kept = Kept()
    module = FederatedModule(
        network, held, LOCAL, byzantine=F, worker_momentum=BETA, worker_dampening=BETA,
        server=lambda p: torch.optim.SGD(p, lr=RATE, weight_decay=DECAY),
        server_schedule=Milestones(at=MILESTONES, factor=0.5), way="vmapped",
    )  # fmt: skip
    trainer = Trainer(
        max_epochs=ROUNDS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Aggregator(rule, mixings), adversary(attack), kept],
    )  # fmt: skip
    trainer.fit(module)
    return module.byzantine, kept


def fed(held, client, flipped):
    """The batches of one worker, as our workers read them, behind a loader of ByzFL's kind."""

    def batch(t):
        index = next(batches(held.clients[client], LOCAL, stream(0, t, client), False, "cpu"))
        inputs, targets = held.samples.read(index)
        return inputs, 9 - targets if flipped else targets

    return DataLoader([batch(t) for t in range(ROUNDS)], batch_size=None, shuffle=False)


def theirs(start, held, byzantine, attack, rule, parameters, before):
    """ByzFL's training loop, as its benchmark has it, but for the evaluation."""
    flips = attack is None  # its LabelFlipping sends the mean of all; ours trains each on its own
    who = [i for i in range(N) if i not in byzantine] + (list(byzantine) if flips else [])
    common = {
        "model_name": "fc_mnist", "device": "cpu", "optimizer_name": "SGD", "learning_rate": RATE,
        "loss_name": "NLLLoss", "weight_decay": DECAY, "milestones": MILESTONES,
        "learning_rate_decay": 0.5, "LabelFlipping": False, "nb_labels": 10, "momentum": BETA,
        "store_per_client_metrics": False,
    }  # fmt: skip
    clients = [Client(common | {"training_dataloader": fed(held, i, i in byzantine)}) for i in who]
    server = Server(
        common
        | {
            "test_loader": DataLoader([0]),
            "aggregator_info": {"name": rule, "parameters": parameters},
            "pre_agg_list": before,
        }
    )
    with torch.no_grad():
        for mine, value in zip(server.model.parameters(), start, strict=True):
            mine.copy_(value)
    liar = None
    if attack is not None:
        knows = {"aggregator_info": {"name": rule, "parameters": parameters}}
        knows["pre_agg_list"] = before
        liar = ByzantineClient({"name": attack[0], "f": F, "parameters": attack[1] | knows})
    weights = []
    for _ in range(ROUNDS):
        for client in clients:
            client.set_model_state(server.get_dict_parameters())
            client.compute_gradients()
        sent = [client.get_flat_gradients_with_momentum() for client in clients]
        sent += liar.apply_attack(sent) if liar else []
        server.update_model_with_gradients(sent)
        weights.append(flat(server.model.parameters()))
    return weights


def tie(name, rows):
    """Whether a rule that chooses rows has two candidates that are as near as float32 rounds."""
    if name not in ("Multi-Krum", "NNM + trimmed mean"):
        return False
    distances = Updates(rows).squared_distances
    distances = distances() if callable(distances) else distances
    ordered = distances.double().sort(1).values
    if name == "Multi-Krum":
        scores = ordered[:, 1 : N - F].sum(1).sort().values
        return bool(close(scores[N - F - 1], scores[N - F]))
    return bool(close(ordered[:, N - F - 1], ordered[:, N - F]).any())


def kink(held, network, mine, other, t):
    """Whether a ReLU of some worker is open at one server's parameters and shut at the other's."""
    for client in range(N):
        index = next(batches(held.clients[client], LOCAL, stream(0, t, client), False, "cpu"))
        inputs = held.samples.inputs[index].flatten(1).double()
        if not torch.equal(opened(network, mine, inputs), opened(network, other, inputs)):
            return True
    return False


def opened(network, weights, inputs):
    shape = network[1].weight.shape
    hidden, bias = weights[: shape.numel()].view(shape), weights[shape.numel() :][: shape[0]]
    return inputs @ hidden.T + bias > 0


def close(last, first_left_out):
    gap = first_left_out - last
    equal = gap == 0  # rows of one attack, which are the same whichever is chosen
    return ~equal & (gap <= NEAR * first_left_out)


@pytest.fixture(scope="module")
def held():
    return federation()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_servers_follow_the_same_path(held, attack, rule):
    torch.manual_seed(0)
    network = fc_mnist(10, (1, 28, 28))
    start = [p.detach().clone() for p in network.parameters()]
    our_attack, their_attack = ATTACKS[attack]
    our_rule, mixings, name, parameters, before = RULES[rule]
    byzantine, kept = ours(network, held, our_attack, our_rule, mixings)
    expected = theirs(start, held, byzantine, their_attack, name, parameters, before)
    distance = [
        float((mine - other).norm() / other.norm())
        for mine, other in zip(kept.weights, expected, strict=True)
    ]
    first = flat(start)
    pairs = zip([first, *kept.weights], [first, *expected], range(ROUNDS), strict=False)
    tied = [
        t
        for mine, other, t in pairs
        if tie(rule, kept.rows[t]) or kink(held, network, mine, other, t)
    ]
    compared = tied[0] if tied else ROUNDS
    worst = max(distance[:compared], default=math.nan)
    if os.environ.get("SHOW_DISTANCES"):
        print(
            f"\n{attack:12} {rule:20} rounds {compared:2} worst {worst:.1e} all {max(distance):.1e}"
        )
    assert compared >= 8
    assert worst <= FAR
    moved = (expected[-1] - first).norm() / first.norm()
    assert moved > 0.01  # else any two servers would agree

"""One round of the STRIKE authors' training loop: the baseline of our timings.

Plain PyTorch, written from a description of their algorithm, not copied from their code. One
client trains after the other, with its own network and ``torch.optim.SGD``; the updates are
flattened, put in a list and stacked; the attack uses bisection over all rows; Krum takes pairwise
distances from ``torch.cdist``. This loop is faster than theirs in three points: images are
normalised on the device, there is no ``DataLoader``, and no loss is read during training.

    python benchmarks/gpu.py --only "authors" --out gpu.jsonl   # beside ours, on a GPU
    python benchmarks/gpu.py --only "authors" --dry             # tiny, on a CPU
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fl_platform.federated.client_training import LocalTraining

Order = Callable[[int, Tensor], Tensor]  # of a client's samples, from its number and them


def shuffled(client: int, own: Tensor) -> Tensor:
    return own[torch.randperm(len(own))]


class AuthorsLoop:
    """Federated averaging under attack, one round per call.

    Args:
        model: Global network, on the device of the training.
        train: normalised images ``(N, ...)`` and labels, on the device.
        clients: ``(N_i,)`` samples of each honest client.
        settings: local SGD.
        f: Byzantine clients.
        test: Test images and labels, evaluated every round.
        order: Order of the samples of a client. Default: drawn every round.
    """

    def __init__(
        self,
        model: nn.Module,
        train: tuple[Tensor, Tensor],
        clients: Sequence[Tensor],
        settings: LocalTraining,
        f: int,
        test: tuple[Tensor, Tensor],
        order: Order = shuffled,
    ) -> None:
        self.model, self.train, self.clients = model, train, clients
        self.settings, self.f, self.test, self.order = settings, f, test, order

    def round(self) -> float:
        """Train, attack, aggregate and step; returns the test accuracy."""
        updates = torch.stack([self.update(number) for number in range(len(self.clients))])
        sent = strike(updates, self.f)
        aggregate = krum(torch.cat([updates, sent.repeat(self.f, 1)]), self.f)
        vector = nn.utils.parameters_to_vector(self.model.parameters())
        nn.utils.vector_to_parameters(vector + aggregate, self.model.parameters())
        return self.accuracy()

    def update(self, number: int) -> Tensor:
        """``w_i - w`` of one client, ``(d,)``: the sign of the authors' code, not the paper's."""
        settings, (images, labels) = self.settings, self.train
        local = copy.deepcopy(self.model).train()
        optimizer = torch.optim.SGD(
            local.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        for _ in range(settings.epochs):
            own = self.order(number, self.clients[number])
            for batch in own.to(images.device).split(settings.batch):
                optimizer.zero_grad()
                F.cross_entropy(local(images[batch]), labels[batch]).backward()
                if settings.clip is not None:
                    nn.utils.clip_grad_norm_(local.parameters(), settings.clip)
                optimizer.step()
        pairs = zip(local.parameters(), self.model.parameters(), strict=True)
        return torch.cat([(after - before).detach().reshape(-1) for after, before in pairs])

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        right = 0
        for images, labels in zip(*(part.split(128) for part in self.test), strict=True):
            right += int((self.model(images).argmax(1) == labels).sum())
        return right / len(self.test[1])


def strike(honest: Tensor, f: int, nu: float = 1.0) -> Tensor:
    """Row ``(d,)`` of every Byzantine client, from the honest rows ``(h, d)``."""
    h, mean = len(honest), honest.mean(0)
    towards = honest.median(0).values - mean  # torch's median: the lower one of an even number
    skewed = honest[(honest @ towards).topk(h - f).indices]
    middle = skewed.mean(0)
    lean = (middle - mean).sign() * skewed.std(0, correction=0)
    widest = torch.cdist(skewed, skewed).max()
    low, high = 0.0, 10.0
    while high - low > 1e-5:
        alpha = (low + high) / 2
        within = (skewed - (middle + alpha * lean)).norm(dim=1).max() <= widest
        low, high = (alpha, high) if within else (low, alpha)
    return middle + nu * low * lean


def krum(rows: Tensor, f: int) -> Tensor:
    """Multi-Krum: mean of the n - f rows with the smallest sum over n - f - 2 neighbours."""
    n = len(rows)
    f = min(f, (n - 3) // 2)
    squared = torch.cdist(rows, rows).square()
    scores = squared.topk(n - f - 1, largest=False).values.sum(1)  # a row is its own nearest
    return rows[scores.topk(n - f, largest=False).indices].mean(0)

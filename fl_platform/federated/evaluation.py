"""How good the global model is on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fl_platform.federated.federation import Samples


@dataclass(frozen=True)
class Score:
    """Accuracy (share from 0 to 1), mean cross-entropy, and accuracy per class ``(C,)``."""

    accuracy: float
    loss: float
    per_class: tuple[float, ...]


@torch.no_grad()
def evaluate(model: nn.Module, samples: Samples, num_classes: int, batch: int = 1000) -> Score:
    """Score ``model`` in evaluation mode; a class without samples scores NaN.

    The sums stay on the device, so a whole evaluation waits for it once.
    """
    was_training = model.training
    model.eval()
    device = samples.targets.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    hits, counts = (torch.zeros(num_classes, dtype=torch.float64, device=device) for _ in "hc")
    for start in range(0, len(samples), batch):
        inputs, targets = samples.read(slice(start, start + batch))
        outputs: Tensor = model(inputs)
        loss += F.cross_entropy(outputs, targets, reduction="sum")
        right = (outputs.argmax(1) == targets).double()
        hits.index_add_(0, targets, right)
        counts.index_add_(0, targets, torch.ones_like(right))
    model.train(was_training)
    return Score(
        accuracy=float(hits.sum() / len(samples)),
        loss=float(loss / len(samples)),
        per_class=tuple((hits / counts).tolist()),
    )

"""Evaluation of the global model on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fl_platform.core.deferred import Number, listed, number
from fl_platform.federated.federation import Samples

# Number of values of the images in one batch: on a CPU their activations stay near the cache, on a
# GPU a step is a full load. CIFAR-10's test set is one step on a GPU.
VALUES = {"cpu": 2**22, "cuda": 2**25}
MOST = {"cpu": 500, "cuda": 2**16}  # images


@dataclass(frozen=True)
class Score:
    """Accuracy (share from 0 to 1), mean cross-entropy, and accuracy per class ``(C,)``.

    Tensors inside `fl_platform.core.deferred.deferring` on a GPU, else floats.
    """

    accuracy: Number
    loss: Number
    per_class: tuple[float, ...] | Tensor


def batch_size(samples: Samples) -> int:
    """Images per step of evaluation: a fixed rule of their size and device."""
    kind = "cuda" if samples.inputs.device.type == "cuda" else "cpu"
    return max(1, min(MOST[kind], VALUES[kind] // samples.inputs[0].numel()))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    samples: Samples,
    num_classes: int,
    batch: int | None = None,
    channels_last: bool = False,
) -> Score:
    """Score ``model`` in evaluation mode; a class without samples scores NaN.

    The sums stay on the device, so a whole evaluation waits for it once.

    Args:
        model: from inputs to ``(B, num_classes)`` outputs.
        samples: on the model's device.
        num_classes: C.
        batch: images per step; ``None`` for `batch_size`.
        channels_last: how images and the weights of convolutions lie in memory.
    """
    was_training = model.training
    model.eval()
    device, batch = samples.targets.device, batch or batch_size(samples)
    weights = {n: _turned(p) for n, p in model.named_parameters() if channels_last}
    loss = torch.zeros((), dtype=torch.float64, device=device)
    hits, counts = (torch.zeros(num_classes, dtype=torch.float64, device=device) for _ in "hc")
    for start in range(0, len(samples), batch):
        inputs, targets = samples.read(slice(start, start + batch))
        if channels_last:
            inputs = _turned(inputs)
        outputs: Tensor = functional_call(model, weights, (inputs,))
        loss += F.cross_entropy(outputs, targets, reduction="sum")
        right = (outputs.argmax(1) == targets).double()
        hits.index_add_(0, targets, right)
        counts.index_add_(0, targets, torch.ones_like(right))
    model.train(was_training)
    return Score(
        accuracy=number(hits.sum() / len(samples)),
        loss=number(loss / len(samples)),
        per_class=listed(hits / counts),
    )


def _turned(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

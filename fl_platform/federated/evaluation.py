"""Evaluation of the global model on held-out samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fl_platform.core.deferred import Number, listed, number
from fl_platform.core.vector import flatten
from fl_platform.federated.client_training.channels_last import turned
from fl_platform.federated.client_training.stacked_network import StackedNetwork, stacking_obstacle
from fl_platform.federated.federation import Samples

# Number of values of the images in one batch: on a CPU their activations stay near the cache, on a
# GPU a step is a full load. With more than 2,000 images cuDNN computes small float32 maps by
# Fourier transforms, which on an H200 takes 46 ms instead of 14 for CIFAR-10.
VALUES = {"cpu": 2**22, "cuda": 2**23}
MOST = {"cpu": 500, "cuda": 2000}  # images
MOST_LARGE_MAPS = 100  # images on a CPU in channels_last: freed maps of more go back to the system


@dataclass(frozen=True)
class Score:
    """Accuracy (share from 0 to 1), mean cross-entropy, and accuracy per class ``(C,)``.

    Tensors inside `fl_platform.core.deferred.deferring` on a GPU, else floats.
    """

    accuracy: Number
    loss: Number
    per_class: tuple[float, ...] | Tensor


def batch_size(samples: Samples, channels_last: bool = False) -> int:
    """Images per step of evaluation: a fixed rule of their size, device and memory order."""
    kind = "cuda" if samples.inputs.device.type == "cuda" else "cpu"
    most = MOST_LARGE_MAPS if kind == "cpu" and channels_last else MOST[kind]
    return max(1, min(most, VALUES[kind] // samples.inputs[0].numel()))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    samples: Samples,
    num_classes: int,
    batch: int | None = None,
    channels_last: bool = False,
    stacked: bool | None = None,
) -> Score:
    """Score ``model`` in evaluation mode; a class without samples scores NaN.

    The sums stay on the device, so a whole evaluation waits for it once.

    Args:
        model: from inputs to ``(B, num_classes)`` outputs.
        samples: on the model's device.
        num_classes: C.
        batch: images per step; ``None`` for `batch_size`.
        channels_last: how images and the weights of convolutions lie in memory.
        stacked: whether to compute as `StackedNetwork` does, where it knows the layers; ``None``:
            on a GPU, where its products over small maps are faster than cuDNN's.
    """
    was_training = model.training
    model.eval()
    device, batch = samples.targets.device, batch or batch_size(samples, channels_last)
    if stacked is None:
        stacked = device.type == "cuda" and not channels_last
    outputs_of = _stacked(model, samples, batch) if stacked else None
    if outputs_of is None:
        outputs_of = _called(model, channels_last)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    hits, counts = (torch.zeros(num_classes, dtype=torch.float64, device=device) for _ in "hc")
    for start in range(0, len(samples), batch):
        inputs, targets = samples.read(slice(start, start + batch))
        outputs = outputs_of(inputs)
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


Outputs = Callable[[Tensor], Tensor]


def _called(model: nn.Module, channels_last: bool) -> Outputs:
    """The model as it is."""
    if not channels_last:
        return model
    weights = {name: turned(parameter) for name, parameter in model.named_parameters()}
    return lambda inputs: functional_call(model, weights, (turned(inputs),))


# The layers of each model, whose tables a GPU would wait for if they were sent at each evaluation.
_networks: WeakKeyDictionary[nn.Module, tuple[object, StackedNetwork | None]] = WeakKeyDictionary()


def _stacked(model: nn.Module, samples: Samples, batch: int) -> Outputs | None:
    """A stack of one client; ``None`` where it does not know a layer."""
    weight = next(model.parameters(), None)
    if weight is None:
        return None
    shape = tuple(samples.inputs.shape[1:])
    asked = (shape, batch, weight.device, weight.dtype)
    known = _networks.get(model)
    if known is None or known[0] != asked:
        network = None
        if not stacking_obstacle(model, shape):
            network = StackedNetwork(model, shape, batch)
            network.prepare(1, weight.device, weight.dtype)
        known = _networks[model] = (asked, network)
    if (network := known[1]) is None:
        return None
    stack = weight.new_zeros(1, network.width)
    network.load(flatten(list(model.parameters())), stack)

    def outputs(inputs: Tensor) -> Tensor:
        walked = inputs.movedim(1, -1) if inputs.ndim == 4 else inputs
        made = network.forward(walked.clone(memory_format=torch.contiguous_format)[None], stack)
        network.forget()
        return made[0]

    return outputs

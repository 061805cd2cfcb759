"""Selection of the client trainer by a fixed rule, not by timing, so a resumed run repeats it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from fl_platform.core import mkl
from fl_platform.federated import client_training as ways
from fl_platform.federated.client_training.draws import draws_numbers
from fl_platform.federated.client_training.trainer import Clients, Loss, Way, WayName
from fl_platform.federated.client_training.vmapped import obstacle

TINY = 2**17  # number of parameters below which a step costs more in calls than in arithmetic
WAYS: dict[WayName, str] = {  # names in `ways`, which imports only the chosen one
    "sequential": "Sequential",
    "channels_last": "ChannelsLast",
    "vmapped": "Vmapped",
    "graphed": "Graphed",
    "stacked": "Stacked",
}


@dataclass(frozen=True)
class Choice:
    """The name of a client trainer, and the reason for it."""

    way: WayName
    reason: str


def choose(
    asked: str,
    device: torch.device,
    model: nn.Module,
    image_shape: tuple[int, ...],
    batch: int,
    loss: Loss = F.cross_entropy,
    augments: bool = False,
) -> Choice:
    """The client trainer for ``model``.

    ``auto`` is, on a GPU: stacked for every chain of layers that it knows, else vmapped for tiny
    models and graphed for others without buffers or dropout. On a CPU: vmapped for tiny models
    without convolutions that allow it (side by side, convolutions become grouped ones, which a
    CPU computes slowly), stacked for chains whose convolutions read small maps where
    `fast_products`, channels_last where convolutions gain by it. Else sequential. Only shapes are
    read, so the model may lie on the meta device.

    Args:
        asked: ``auto`` or the name of a client trainer.
        device: device of the training.
        model: the network.
        image_shape: of one input.
        batch: samples per step.
        loss: of the clients.
        augments: ``True`` if images are cropped or flipped at random.

    Raises:
        ValueError: the named client trainer cannot train this model on this device.
    """
    against = obstacle(model, loss, augments)
    if asked in ("graphed", "channels_last") and draws_numbers(model):
        raise ValueError(
            f"Expected a model without dropout for runtime.local={asked}: the same draws would fall"
            " on other numbers; use auto or sequential."
        )
    if asked == "vmapped" and against:
        raise ValueError(
            f"Expected a model for runtime.local=vmapped whose clients can train in parallel,"
            f" but {against}; use auto or sequential."
        )
    unstacked = functools.cache(lambda: ways.stacking_obstacle(model, image_shape, loss, augments))
    if asked == "stacked" and unstacked():
        raise ValueError(
            f"Expected a model for runtime.local=stacked whose clients train as a stack, but"
            f" {unstacked()}; use auto or sequential."
        )
    if asked == "graphed" and device.type != "cuda":
        raise ValueError(
            f"Expected a CUDA device for runtime.local=graphed, got {device.type}: only CUDA"
            " records steps as graphs; use auto or sequential."
        )
    if asked != "auto":
        if asked not in WAYS:
            raise ValueError(f"Expected auto or one of {', '.join(WAYS)}, got {asked!r}.")
        return Choice(asked, "asked for")
    size = sum(parameter.numel() for parameter in model.parameters())
    work = f"{size:,} parameters, batches of {batch}, {device.type}"
    tiny, on_gpu = size <= TINY, device.type == "cuda"
    if on_gpu and not unstacked():
        return Choice("stacked", f"as batched products: {work}")
    reason = f"; {unstacked()}" if on_gpu else ""
    if tiny and not against and (on_gpu or not _convolves(model)):
        return Choice("vmapped", f"tiny: {work}{reason}")
    if on_gpu and not against:
        return Choice("graphed", f"as CUDA graphs: {work}{reason}")
    if fast_products() and not unstacked() and ways.spares_products(model, image_shape, batch):
        return Choice("stacked", f"convolutions over small maps: {work}")
    drawn, capability = draws_numbers(model), torch.backends.cpu.get_cpu_capability()
    if device.type == "cpu" and not drawn and ways.pays(model, image_shape, capability):
        return Choice("channels_last", f"convolutions, {capability}: {work}")
    reason = f"; {against}" if against and (on_gpu or tiny or drawn) else ""
    return Choice("sequential", f"{work}{reason}")


def fast_products() -> bool:
    """Whether matrix products are as fast as convolutions: not on an AMD processor with AVX-512.

    There MKL, which computes the products of a stack, reaches half the rate of oneDNN, which
    computes the convolutions, unless a preloaded library lets it use AVX-512
    (docs/performance.md). A release of torch that does not tell the name of the processor counts
    as fast.
    """
    if mkl.preloaded():
        return True
    told = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    amd = str(told.get("cpu_name")).startswith("AMD")
    return not (amd and torch.backends.cpu.get_cpu_capability() == "AVX512")


def _convolves(model: nn.Module) -> bool:
    return any(isinstance(layer, nn.modules.conv._ConvNd) for layer in model.modules())


def build_way(name: WayName, model: nn.Module, clients: Clients) -> Way:
    """The client trainer of that name for copies of ``model``."""
    way: Way = getattr(ways, WAYS[name])(model, clients)
    return way

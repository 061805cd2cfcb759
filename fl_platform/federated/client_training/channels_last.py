"""Convolutions in the channels_last memory format: the same sums, often faster on a CPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fl_platform.federated.client_training.pooled_convolution import pool_convolutions
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.federated.client_training.trainer import Clients

LARGE_MAP = 7  # pixels per side; for smaller maps the other layout is faster with AVX-512


class ChannelsLast(Sequential):
    """`Sequential` with images, gradients of images and weights of convolutions in channels_last.

    ``nn.Flatten`` returns the gradient of a map in the other order, in which the backward pass of a
    pooling layer below it takes seven times as long; the gradient is turned first. A convolution
    below a max pooling computes its gradient at the chosen pixels alone (`PooledConvolution`).

    Args:
        model: the network; copied.
        clients: their samples and settings.
    """

    def __init__(self, model: nn.Module, clients: Clients) -> None:
        super().__init__(model, clients, channels_last=True)
        pool_convolutions(self.workspace.model)
        for layer in self.workspace.model.modules():
            if isinstance(layer, nn.Flatten):
                layer.register_forward_pre_hook(_turn_gradient)

    def _loss_of(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return super()._loss_of(turned(inputs), targets)


def turned(tensor: Tensor) -> Tensor:
    """The same values in channels_last memory order, if the tensor has four dimensions."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _turn_gradient(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Put the gradient of the layer's input in channels_last on the backward pass."""
    for images in inputs:  # none where the input is given by keyword
        if images.requires_grad:
            images.register_hook(turned)


def pays(model: nn.Module, image_shape: tuple[int, ...], capability: str) -> bool:
    """True if the format is faster: the model has convolutions, all with large output maps.

    Measured in docs/performance.md: the FEMNIST network and ResNet-18 gain everywhere; AlexNet on
    CIFAR-10, whose maps shrink to 2 x 2, loses with AVX-512 and gains with AVX2.

    Args:
        model: may lie on the meta device.
        image_shape: of one input.
        capability: ``torch.backends.cpu.get_cpu_capability()`` of the processor that trains.
    """
    if len(image_shape) != 3:
        return False
    maps = _maps(model, image_shape)
    large = all(min(shape[2:]) >= LARGE_MAP for shape in maps)
    return bool(maps) and (large or capability == "AVX2")


def _maps(model: nn.Module, image_shape: tuple[int, ...]) -> list[torch.Size]:
    """Shapes of the outputs of all two-dimensional convolutions, from a pass of shapes alone."""
    twin = copy.deepcopy(model).to("meta").eval()
    shapes: list[torch.Size] = []
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        twin(torch.empty(2, *image_shape, device="meta"))
    return shapes

"""The size of a model, and the operations per image."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def num_parameters(model: nn.Module) -> int:
    """d, the number of trainable coordinates; running statistics are not counted."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


@dataclass(frozen=True)
class Work:
    """The work of a model per image.

    Attributes:
        forward: floating-point operations of a forward pass; a multiply-add is two.
        training: operations of a forward and a backward pass.
        activations: number of outputs of all layers.
        largest: number of outputs of the largest layer.
        unfolded: values of the convolutions' inputs, unfolded to the rows of a product.
    """

    forward: int
    training: int
    activations: int
    largest: int
    unfolded: int


def work_per_image(
    model: nn.Module, image_shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Work:
    """Count the operations from the shapes of the layers for one image.

    Operations are those of convolutions and linear layers: one product each for the outputs, the
    gradient of the weights and, except in the first layer, the gradient of the inputs. All other
    layers, a few percent, are not counted. The small AlexNet has 29.9 and 86.8 million on
    CIFAR-10's images. A copy on the CPU takes one image in evaluation mode: milliseconds, where
    tensors without storage would first import a compiler for seconds.

    Args:
        model: from images to outputs; on any device, not modified.
        image_shape: channels, height, width; of tokens, their number.
        dtype: type of an input; an integer type for tokens.
    """
    twin = copy.deepcopy(model).to("cpu", torch.float32).eval()
    products: list[int] = []
    left: list[int] = []
    unfolded: list[int] = []

    def passed(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        left.append(output.numel())
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            products.append(2 * output.numel() * layer.weight[0].numel())
        if isinstance(layer, nn.modules.conv._ConvNd):
            unfolded.append(output[0, 0].numel() * layer.weight[0].numel() * layer.groups)

    for layer in twin.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_hook(passed)
    with torch.no_grad():
        twin(torch.zeros(1, *image_shape, dtype=dtype))
    forward = sum(products)
    training = 3 * forward - sum(products[:1])
    return Work(forward, training, sum(left), max(left, default=0), sum(unfolded))

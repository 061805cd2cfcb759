"""A chain of layers, walked forward and backward for many clients at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fl_platform.federated.client_training.stacked_activation import fused
from fl_platform.federated.client_training.stacked_convolution import Axis, Convolution, convolution
from fl_platform.federated.client_training.stacked_layers import (
    AvgPool,
    Bias,
    Flatten,
    GroupNorm,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Shape,
    Slot,
    pair,
    pooled,
)
from fl_platform.federated.client_training.trainer import Loss

ALIGN = 16  # numbers: each parameter and row starts at a multiple, so that loads are wide


class UnknownLayer(ValueError):  # noqa: N818 - a fact about a model
    """The walk does not know a layer, or what stands around it."""


def stacking_obstacle(
    model: nn.Module, sample_shape: Shape, loss: Loss = F.cross_entropy, augments: bool = False
) -> str:
    """Why the clients of this model cannot be trained as a stack; empty where they can.

    Args:
        model: may lie on the meta device.
        sample_shape: of one input, ``(channels, height, width)`` or ``(features,)``.
        loss: of the clients.
        augments: whether images are cropped or flipped at random.
    """
    if loss is not F.cross_entropy:
        return "the loss is not cross-entropy, whose gradient is written out"
    if augments:
        return "images are cropped or flipped client by client"
    try:
        StackedNetwork(model, sample_shape, 1)
    except UnknownLayer as reason:
        return str(reason)
    return ""


def spares_products(model: nn.Module, sample_shape: Shape, batch: int) -> bool:
    """Whether a stack takes fewer multiply-adds than torch's convolutions, so that a CPU gains.

    Over small maps most taps fall outside, and bands leave whole rows of them out; over large maps
    the zeros of the bands cost more. Measured in docs/performance.md.

    Args:
        model: one without `stacking_obstacle`; may lie on the meta device.
        sample_shape: of one input.
        batch: samples per step.
    """
    layers = StackedNetwork(model, sample_shape, batch).layers
    own = [layer for layer in layers if isinstance(layer, Convolution)]
    direct = sum(layer.out[0] * layer.out[1] * layer.slots[0].size for layer in own)
    return sum(layer.multiply_adds() for layer in own) < direct


class StackedNetwork:
    """The layers of a model, and where their parameters lie in a stack ``(C, width)``.

    A bias and a ReLU move behind a max pooling: both are monotone, so the values are the same
    and fewer.

    Args:
        model: an ``nn.Sequential``, nested ones included, of Conv2d (one group), Linear, ReLU,
            MaxPool2d, AvgPool2d, AdaptiveAvgPool2d (where windows are equal), Flatten, GroupNorm,
            Identity and Dropout with p = 0.
        sample_shape: of one input, ``(channels, height, width)`` or ``(features,)``.
        batch: samples per step, which decides how convolutions are computed.

    Attributes:
        slots: all parameters, those that train first.
        width: columns of a stack.
        trained: columns that move.

    Raises:
        UnknownLayer: something else stands in the chain.
    """

    def __init__(self, model: nn.Module, sample_shape: Shape, batch: int) -> None:
        self._sources, start = {}, 0
        for parameter in model.parameters():
            self._sources[id(parameter)] = slice(start, start + parameter.numel())
            start += parameter.numel()
        self._batch = batch
        self._pending: Shape | None = None  # (H, W, channels) of features that were maps
        self._sample = sample_shape
        self.shape = _walked(sample_shape)
        self.layers: list[Layer] = []
        seen: set[int] = set()
        for module in _chain(model):
            own = [id(parameter) for parameter in module.parameters()]
            if seen & {*own, id(module)}:
                raise UnknownLayer(f"a {_name(module)} or its weights are used more than once")
            seen |= {*own, id(module)}
            self._add(module)
        if len(self.shape) != 1 or self._reordered:
            raise UnknownLayer("its outputs are maps, not one number per class")
        if seen & self._sources.keys() != self._sources.keys():
            raise UnknownLayer("some of its parameters lie outside its layers")
        self._pool_first()
        self.layers = fused(self.layers)
        self._lay_out()

    def _lay_out(self) -> None:
        slots = [slot for layer in self.layers for slot in layer.slots]
        self.slots = sorted(slots, key=lambda slot: not slot.trains)
        self.width = self.trained = 0
        for slot in self.slots:
            slot.start = self.width
            self.width += -(-slot.size // ALIGN) * ALIGN
            if slot.trains:
                self.trained = self.width
        trains = [any(slot.trains for slot in layer.slots) for layer in self.layers]
        self._first = trains.index(True) if True in trains else len(trains)

    @property
    def _reordered(self) -> bool:
        """Whether features stand in another order than the model's."""
        return self._pending is not None and self._pending[:2] != (1, 1) and self._pending[2] != 1

    def _slot(self, parameter: Tensor, axes: Shape, order: Shape) -> Slot:
        return Slot(self._sources[id(parameter)], axes, order, parameter.requires_grad)

    def _add(self, module: nn.Module) -> None:
        if type(module) is nn.Identity or (isinstance(module, nn.Dropout) and module.p == 0):
            return
        adders: dict[type, Callable[[Any], list[Layer]]] = {
            nn.Conv2d: self._add_convolution,
            nn.Linear: self._add_linear,
            nn.ReLU: lambda _: [ReLU(self.shape)],
            nn.Flatten: self._add_flatten,
            nn.MaxPool2d: self._add_pool,
            nn.AvgPool2d: self._add_pool,
            nn.AdaptiveAvgPool2d: self._add_adaptive,
            nn.GroupNorm: self._add_norm,
        }
        if type(module) not in adders:
            raise UnknownLayer(f"it has a {_name(module)}")
        added = adders[type(module)](module)
        self.layers += added
        if added:
            self.shape = added[-1].out

    def _maps(self, module: nn.Module) -> Shape:
        if len(self.shape) != 3:
            raise UnknownLayer(f"a {_name(module)} reads {len(self.shape)} dimensions, not 3")
        return self.shape

    def _bias(self, bias: Tensor | None, shape: Shape) -> list[Layer]:
        return [] if bias is None else [Bias(self._slot(bias, (len(bias),), (0,)), shape)]

    def _add_convolution(self, module: nn.Conv2d) -> list[Layer]:
        height, width, channels = self._maps(module)
        if module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise UnknownLayer("it has a Conv2d with groups, or padding by name or not by zeros")
        if channels != module.in_channels:
            raise UnknownLayer(f"a Conv2d reads {module.in_channels} channels, not {channels}")
        settings = zip(
            (height, width),
            pair(module.kernel_size),
            pair(module.stride),
            pair(module.padding),
            pair(module.dilation),
            strict=True,
        )
        rows, columns = (Axis(*each) for each in settings)
        if rows.out < 1 or columns.out < 1:
            raise UnknownLayer(f"a Conv2d reads maps of {height} x {width}, less than its kernel")
        weight = self._slot(module.weight, tuple(module.weight.shape), (2, 3, 1, 0))
        layer = convolution(weight, rows, columns, self._batch)
        return [layer, *self._bias(module.bias, layer.out)]

    def _add_linear(self, module: nn.Linear) -> list[Layer]:
        if len(self.shape) != 1 or self.shape[0] != module.in_features:
            raise UnknownLayer(f"a Linear of {module.in_features} inputs reads {self.shape}")
        axes, order = (module.out_features, module.in_features), (1, 0)
        if self._pending is not None:
            height, width, channels = self._pending
            axes = (module.out_features, channels, height, width)  # type: ignore[assignment]
            order = (2, 3, 1, 0)  # type: ignore[assignment]
            self._pending = None
        layer = Linear(self._slot(module.weight, axes, order))
        return [layer, *self._bias(module.bias, layer.out)]

    def _add_flatten(self, module: nn.Flatten) -> list[Layer]:
        if module.start_dim != 1 or module.end_dim != -1:
            raise UnknownLayer("it has a Flatten of some dimensions only")
        if len(self.shape) == 1:
            return []
        self._pending = self.shape
        return [Flatten(self.shape)]

    def _add_pool(self, module: nn.MaxPool2d | nn.AvgPool2d) -> list[Layer]:
        shape = self._maps(module)
        if isinstance(module, nn.AvgPool2d):
            return [AvgPool(module, shape, pooled(module, shape))]
        if module.return_indices:
            raise UnknownLayer("it has a MaxPool2d that returns indices")
        return [MaxPool(module, shape, pooled(module, shape))]

    def _add_adaptive(self, module: nn.AdaptiveAvgPool2d) -> list[Layer]:
        height, width, _ = self._maps(module)
        size: Any = module.output_size
        wanted = size if isinstance(size, tuple) else (size, size)
        out = [
            size if side is None else side
            for side, size in zip(wanted, (height, width), strict=True)
        ]
        if height % out[0] or width % out[1]:
            raise UnknownLayer("it has an AdaptiveAvgPool2d whose windows differ")
        return self._add_pool(nn.AvgPool2d((height // out[0], width // out[1])))

    def _add_norm(self, module: nn.GroupNorm) -> list[Layer]:
        if self._reordered or self.shape[-1] != module.num_channels:
            raise UnknownLayer(f"a GroupNorm of {module.num_channels} channels reads {self.shape}")
        slots = [
            None if value is None else self._slot(value, (len(value),), (0,))
            for value in (module.weight, module.bias)
        ]
        return [GroupNorm(module, self.shape, *slots)]

    def _pool_first(self) -> None:
        for i in range(1, len(self.layers)):
            if not isinstance(self.layers[i], MaxPool):
                continue
            shape, j = self.layers[i].out, i
            while j and isinstance(self.layers[j - 1], Bias | ReLU):
                self.layers[j - 1].out = shape
                self.layers[j - 1 : j + 1] = self.layers[j - 1 : j + 1][::-1]
                j -= 1

    def prepare(self, clients: int, device: torch.device, dtype: torch.dtype) -> None:
        """Make the buffers of all layers for so many clients, in the type of their products."""
        for layer in self.layers:
            layer.prepare(clients, device, dtype)

    def bytes_per_client(self, itemsize: int) -> int:
        """Bytes that a step of one client takes, from shapes alone: its parameters, gradients and
        momentum, and what its layers keep for one batch."""
        inputs = 2 * self._batch * math.prod(self._sample)
        layers = sum(layer.numbers(self._batch) for layer in self.layers)
        return itemsize * (3 * self.width + inputs + layers)

    def load(self, flat: Tensor, stack: Tensor) -> None:
        """Give every client of the stack the model's flat vector ``(d,)``."""
        one = stack.new_zeros(1, self.width)  # turned once, not for each client
        for slot in self.slots:
            slot.load(flat, one)
        stack.copy_(one.expand_as(stack))

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Outputs ``(C, B, classes)`` of inputs ``(C, B, ...)``, channels last; overwrites them.

        Products are computed in the type of ``x``.
        """
        for layer in self.layers:
            x = layer.forward(x, parameters)
        return x

    def forget(self) -> None:
        """Drop what the layers keep for a backward pass that does not come."""
        for layer in self.layers:
            layer.forget()

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor) -> None:
        """Write the gradients of all that trains, given those of the outputs of `forward`."""
        for i in range(len(self.layers) - 1, self._first - 1, -1):
            dy = self.layers[i].backward(dy, parameters, gradients, i > self._first)


def _walked(sample_shape: Shape) -> Shape:
    """Channels last."""
    if len(sample_shape) == 3:
        return (*sample_shape[1:], sample_shape[0])
    if len(sample_shape) == 1:
        return tuple(sample_shape)
    raise UnknownLayer(f"its inputs have {len(sample_shape)} dimensions, not 1 or 3")


def _chain(model: nn.Module) -> Iterator[nn.Module]:
    """The layers in the order in which they are called."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(model, kind) for kind in hooks):
        raise UnknownLayer(f"a {_name(model)} has hooks, which only a call of it would run")
    if nn.utils.parametrize.is_parametrized(model):
        raise UnknownLayer(f"a {_name(model)} computes its weights (parametrization)")
    if type(model) is nn.Sequential:
        for child in model:
            yield from _chain(child)
    else:
        yield model


def _name(module: nn.Module) -> str:
    return type(module).__name__

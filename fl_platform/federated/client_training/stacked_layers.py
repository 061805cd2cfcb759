"""Layers of many clients at once: forward and backward passes written out, without autograd.

Activations are ``(C, B, H, W, channels)`` or ``(C, B, features)``: C clients with B samples each,
channels last. Each weight lies in the order in which its product reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, ...]


@dataclass
class Slot:
    """Where one parameter lies in the stack ``(C, width)``, and in which order.

    Attributes:
        source: its place in the model's flat vector.
        axes: its shape in the model, with flattened axes taken apart.
        order: of those axes in the stack.
        trains: whether it moves.
        start: its first column in the stack.
    """

    source: slice
    axes: Shape
    order: Shape
    trains: bool
    start: int = 0

    @property
    def size(self) -> int:
        """Numbers."""
        return math.prod(self.axes)

    @property
    def shape(self) -> Shape:
        """Of one client's in the stack."""
        return tuple(self.axes[axis] for axis in self.order)

    def of(self, stack: Tensor) -> Tensor:
        """``(C, *shape)``: this parameter of all clients, a view."""
        part = stack[:, self.start : self.start + self.size]
        return part.unflatten(1, self.shape) if len(self.shape) > 1 else part

    def load(self, flat: Tensor, stack: Tensor) -> None:
        """Give every client of the stack what the model's flat vector ``(d,)`` holds."""
        self.of(stack).copy_(flat[self.source].view(self.axes).permute(self.order))

    def unload(self, stack: Tensor) -> Tensor:
        """``(C, *axes)``: this parameter of all clients in the model's order, a view."""
        back = sorted(range(len(self.order)), key=lambda axis: self.order[axis])
        return self.of(stack).permute(0, *(axis + 1 for axis in back))


class Layer:
    """One step of the walk; it keeps what its backward pass needs until that has run.

    Attributes:
        slots: its parameters.
        out: shape of one sample's output.
    """

    slots: Sequence[Slot] = ()
    out: Shape

    def prepare(self, clients: int, device: torch.device, dtype: torch.dtype) -> None:
        """Make the buffers that stay from step to step."""

    def numbers(self, batch: int) -> int:
        """Numbers that one client's pass over ``batch`` samples needs beside its parameters."""
        return 2 * batch * math.prod(self.out)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Outputs of ``x``; may write over it."""
        raise NotImplementedError

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """Write the gradients of the parameters that train; the gradient to the input if wanted."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what is kept for a backward pass that does not come."""
        for name in {"_x", "_y", "_kept"} & vars(self).keys():
            setattr(self, name, None)


def write_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """``out = left @ right``, batch by batch; rounded once more where ``out`` has another type."""
    if out.dtype == left.dtype:
        torch.bmm(left, right, out=out)
    else:
        out.copy_(torch.bmm(left, right))


class Linear(Layer):
    """``x W`` with ``W`` of shape (inputs, outputs)."""

    def __init__(self, weight: Slot) -> None:
        self.slots = (weight,)
        self.outputs = weight.axes[0]
        self.out = (self.outputs,)
        self._x: Tensor | None = None

    def _weight(self, stack: Tensor) -> Tensor:
        return self.slots[0].of(stack).flatten(1, -2)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Products of all clients in one call."""
        self._x = x
        return torch.bmm(x, self._weight(parameters).to(x.dtype))

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """``dW = x^T dy`` and ``dx = dy W^T``."""
        assert self._x is not None
        x, self._x = self._x, None
        if self.slots[0].trains:
            write_product(x.mT, dy, self._weight(gradients))
        return torch.bmm(dy, self._weight(parameters).to(dy.dtype).mT) if wanted else dy


class Bias(Layer):
    """Add a number per channel, in place."""

    def __init__(self, bias: Slot, shape: Shape) -> None:
        self.slots, self.out = (bias,), shape

    def numbers(self, batch: int) -> int:
        """None: it works in place."""
        return 0

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """``x + b``."""
        bias = self.slots[0].of(parameters).to(x.dtype)
        return x.add_(bias.view(len(x), *[1] * (x.ndim - 2), -1))

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """``db`` is the sum of ``dy``, which passes on."""
        if self.slots[0].trains:
            into = self.slots[0].of(gradients)
            torch.sum(dy.flatten(1, -2), 1, dtype=into.dtype, out=into)
        return dy


class ReLU(Layer):
    """``max(x, 0)``, in place."""

    def __init__(self, shape: Shape) -> None:
        self.out = shape
        self._y: Tensor | None = None

    def numbers(self, batch: int) -> int:
        """The gradient: outputs take the place of inputs."""
        return batch * math.prod(self.out)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """The positive part."""
        self._y = x.relu_()
        return self._y

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """``dy`` where the output is positive."""
        assert self._y is not None
        y, self._y = self._y, None
        return torch.ops.aten.threshold_backward(dy, y, 0) if wanted else dy


class Flatten(Layer):
    """Maps to features; their order is (H, W, channels), which the next linear layer knows."""

    def __init__(self, shape: Shape) -> None:
        self.out = (math.prod(shape),)
        self._shape = shape

    def numbers(self, batch: int) -> int:
        """None: a view."""
        return 0

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """``(C, B, features)``."""
        return x.flatten(2)

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """Back to maps."""
        return dy.unflatten(2, self._shape)


def images(x: Tensor) -> Tensor:
    """``(C, B, H, W, channels)`` as ``(C B, channels, H, W)`` in channels_last memory order."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def maps(x: Tensor, clients: int) -> Tensor:
    """The reverse of `images`."""
    return x.permute(0, 2, 3, 1).unflatten(0, (clients, -1))


class MaxPool(Layer):
    """Largest value of each window; of equal ones the first, as in torch.

    Attributes:
        window: rows and columns.
        disjoint: whether windows lie beside each other.
    """

    def __init__(self, layer: nn.MaxPool2d, shape: Shape, out: Shape) -> None:
        self.out = out
        self._shape = shape
        self._window = (
            list(pair(layer.kernel_size)),
            list(pair(layer.stride)),
            list(pair(layer.padding)),
            list(pair(layer.dilation)),
            layer.ceil_mode,
        )
        kernel, stride, padding, dilation, _ = self._window
        # Every input then lies in at most one window, so that nothing must be added up.
        self.disjoint = kernel == stride and padding == [0, 0] and dilation == [1, 1]
        self.window = (kernel[0], kernel[1])
        self._kept: tuple[Tensor, Tensor] | None = None

    def numbers(self, batch: int) -> int:
        """Outputs, indices (of 8 bytes), and the gradient to the input."""
        return batch * (4 * math.prod(self.out) + math.prod(self._shape))

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Values, with the place of each kept."""
        flat = images(x)
        values, index = torch.ops.aten.max_pool2d_with_indices(flat, *self._window)
        self._kept = (flat, index)
        return maps(values, len(x))

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """Each gradient to the place of its value."""
        assert self._kept is not None
        (flat, index), self._kept = self._kept, None
        if not wanted:
            return dy
        if self.disjoint and dy.device.type != "cpu":  # torch's own adds by atomics there
            height, width, channels = self._shape
            dx = dy.new_zeros(len(flat), height * width, channels)
            places = index.permute(0, 2, 3, 1).flatten(1, 2)
            dx.scatter_(1, places, dy.reshape(places.shape))
            return dx.view(*dy.shape[:2], *self._shape)
        dx = torch.ops.aten.max_pool2d_with_indices_backward(images(dy), flat, *self._window, index)
        return maps(dx, len(dy))


class AvgPool(Layer):
    """Mean of each window."""

    def __init__(self, layer: nn.AvgPool2d, shape: Shape, out: Shape) -> None:
        self.out = out
        self._shape = shape
        self._window = (
            list(pair(layer.kernel_size)),
            list(pair(layer.stride)),
            list(pair(layer.padding)),
            layer.ceil_mode,
            layer.count_include_pad,
            layer.divisor_override,
        )

    def numbers(self, batch: int) -> int:
        """Outputs and the gradient to the input."""
        return batch * (math.prod(self.out) + math.prod(self._shape))

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Means."""
        return maps(torch.ops.aten.avg_pool2d(images(x), *self._window), len(x))

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """Each gradient spread over its window."""
        if not wanted:
            return dy
        # Only the shape of the input is read.
        like = dy.new_empty(1).expand(*dy.shape[:2], *self._shape).flatten(0, 1)
        like = like.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        dx = torch.ops.aten.avg_pool2d_backward(images(dy), like, *self._window)
        return maps(dx, len(dy))


class GroupNorm(Layer):
    """Each sample's groups of channels to mean 0 and variance 1; at least in float32."""

    def __init__(
        self, layer: nn.GroupNorm, shape: Shape, weight: Slot | None, bias: Slot | None
    ) -> None:
        self.slots = [slot for slot in (weight, bias) if slot is not None]
        self.out = shape
        self._weight, self._bias = weight, bias
        self._groups, self._eps = layer.num_groups, layer.eps
        self._kept: tuple[Tensor, Tensor, torch.dtype] | None = None

    def numbers(self, batch: int) -> int:
        """Normalised values, outputs, and two gradients."""
        return 4 * batch * math.prod(self.out)

    def _per_channel(self, slot: Slot | None, stack: Tensor) -> Tensor:
        assert slot is not None
        return slot.of(stack).view(len(stack), 1, 1, self._groups, -1)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """``x^ w + b`` with ``x^`` normalised; (C, B, pixels, groups, channels of one)."""
        groups = x.reshape(*x.shape[:2], -1, self._groups, x.shape[-1] // self._groups)
        if groups.dtype != torch.float64:
            groups = groups.float()
        variance, mean = torch.var_mean(groups, (2, 4), correction=0, keepdim=True)
        scale = (variance + self._eps).rsqrt()
        normal = (groups - mean).mul_(scale)
        self._kept = (normal, scale, x.dtype)
        y = normal
        if self._weight is not None:
            y = y * self._per_channel(self._weight, parameters)
        if self._bias is not None:
            y = y + self._per_channel(self._bias, parameters)
        return (y.clone() if y is normal else y).to(x.dtype).view(x.shape)

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """``dx = s (g - mean(g) - x^ mean(g x^))`` over each group, where ``g = dy w``."""
        assert self._kept is not None
        (normal, scale, dtype), self._kept = self._kept, None
        grown = dy.reshape(normal.shape).to(normal.dtype)
        for slot, value in ((self._weight, grown * normal), (self._bias, grown)):
            if slot is not None and slot.trains:
                slot.of(gradients).copy_(value.sum((1, 2)).flatten(1))
        if not wanted:
            return dy
        if self._weight is not None:
            grown = grown * self._per_channel(self._weight, parameters)
        along = (grown * normal).mean((2, 4), keepdim=True)
        dx = (grown - grown.mean((2, 4), keepdim=True)).sub_(normal * along).mul_(scale)
        return dx.to(dtype).view(dy.shape)


def pair(value: int | tuple[int, ...] | None) -> tuple[int, int]:
    """A setting of a layer for both axes."""
    if isinstance(value, tuple):
        return (value[0], value[-1])
    assert value is not None
    return (value, value)


def pooled(layer: nn.MaxPool2d | nn.AvgPool2d, shape: Shape) -> Shape:
    """Shape of one sample's output of a pooling layer; both ``(H, W, channels)``."""
    probe = torch.empty(1, 1, *shape[:2], device="meta")
    out = (
        F.max_pool2d(
            probe, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
        )
        if isinstance(layer, nn.MaxPool2d)
        else F.avg_pool2d(probe, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
    )
    return (*out.shape[2:], shape[2])

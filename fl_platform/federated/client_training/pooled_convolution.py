"""A convolution whose map only a max pooling reads: its gradient is 0 but at the chosen pixels."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fl_platform.core.native import compiler as native

MOST = 0.25  # pooled places per pixel of the map; of more, the dense gradient is as fast
LEAST_SPAN, MOST_SPAN = 32, 256  # numbers of a kernel's row; fewer or more gain nothing
LEAST_WORK = 1 << 24  # multiplications of a batch; for fewer, torch computes the gradient
ROWS_AT_ONCE = 2  # of the pooled map: the images below them fit into the first cache


class PooledConvolution:
    """`nn.Conv2d`, a ReLU or nothing, and `nn.MaxPool2d` in one step, for training on a CPU.

    Outputs are those of the three layers to the last bit. The gradient of finite numbers is the
    same sum, added in another order: the pooling passes a quarter of it on or less, dropout and
    ReLU less again, and a compiled kernel reads only that. Which batches it serves depends on their
    size alone, so a continued run repeats the bits. Elsewhere torch computes the gradient.

    Args:
        convolution: stride and dilation 1, one group, padded by zeros.
        pooling: without padding and dilation.
        rectified: whether a ReLU lies between them.
    """

    def __init__(self, convolution: nn.Conv2d, pooling: nn.MaxPool2d, rectified: bool) -> None:
        self.convolution, self.pooling, self.rectified = convolution, pooling, rectified

    def __call__(self, images: Tensor) -> Tensor:
        """The pooled map ``(B, O, rows, columns)`` of ``images`` ``(B, C, height, width)``."""
        outputs: Tensor
        library = self._library(images)
        if library is not None:
            layer = self.convolution
            outputs = _Pooled.apply(images, layer.weight, layer.bias, self, library)
            return outputs
        outputs, _ = self.pooled(images)
        return F.relu(outputs) if self.rectified else outputs

    def pooled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, O, rows, columns)`` largest numbers before a ReLU, and int64 places in the map."""
        pooling, maps = self.pooling, self.convolution(images)
        found: tuple[Tensor, Tensor] = F.max_pool2d(
            maps,
            pooling.kernel_size,
            pooling.stride,
            ceil_mode=pooling.ceil_mode,
            return_indices=True,
        )
        return found

    def _library(self, images: Tensor) -> ctypes.CDLL | None:
        """The kernel, if it can be used for these images and pays."""
        weight = self.convolution.weight
        if not (
            torch.is_grad_enabled()
            and images.requires_grad
            and images.ndim == 4
            and type(images) is Tensor
            and not torch._C._are_functorch_transforms_active()
            and images.device.type == "cpu"
            and images.dtype == weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch.get_num_threads() == 1
        ):
            return None
        rows, columns = _pair(self.convolution.padding)
        height = images.shape[2] + 2 * rows - weight.shape[2] + 1
        width = images.shape[3] + 2 * columns - weight.shape[3] + 1
        work = len(images) * height * width * weight.numel()
        if work < LEAST_WORK:
            return None
        _, channels, height, width = weight.shape
        text = native.source("pooled.cpp", HEIGHT=height, WIDTH=width, CHANNELS=channels)
        return native.library(text, native.FUSED)


class _Pooled(torch.autograd.Function):
    """Outputs by torch; gradients by the compiled kernel."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        step: PooledConvolution,
        library: ctypes.CDLL,
    ) -> Tensor:
        outputs, chosen = step.pooled(images)
        ctx.step, ctx.library = step, library
        below = [outputs <= 0] if step.rectified else []
        ctx.save_for_backward(images, weight, chosen, *below)
        return F.relu(outputs) if step.rectified else outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        step: PooledConvolution = ctx.step
        images, weight, chosen, *below = ctx.saved_tensors
        if below:
            gradient = gradient.masked_fill(below[0], 0.0)
        rows, columns = _pair(step.convolution.padding)
        images = _last(F.pad(images, (columns, columns, rows, rows)))
        to_images = torch.zeros_like(images)
        to_weight = torch.zeros_like(_last(weight))
        to_bias = weight.new_zeros(len(weight))
        gradient, chosen, weight = _last(gradient), _last(chosen), _last(weight)
        mapped = [images.shape[2 + i] - weight.shape[2 + i] + 1 for i in (0, 1)]
        pooled = gradient.shape[2:].numel()
        at_once = min(pooled, ROWS_AT_ONCE * gradient.shape[3])
        sizes = (len(images), *images.shape[2:], len(weight), pooled, *mapped, at_once)
        ctx.library.pooled(
            *(ctypes.c_void_p(t.data_ptr()) for t in (images, weight, gradient, chosen)),
            *(ctypes.c_long(size) for size in sizes),
            *(ctypes.c_void_p(t.data_ptr()) for t in (to_images, to_weight, to_bias)),
        )
        height, width = (to_images.shape[2 + i] - 2 * (rows, columns)[i] for i in (0, 1))
        inner = to_images[:, :, rows : rows + height, columns : columns + width]
        to_bias = to_bias if step.convolution.bias is not None else None
        return inner, to_weight, to_bias, None, None


def pool_convolutions(model: nn.Module) -> None:
    """Let every ``nn.Sequential`` of ``model`` compute such layers as one `PooledConvolution`.

    Only a call of the whole chain does; its layers stay as they are, for a network that calls
    them one by one. Layers with hooks or a ``forward`` of their own are left alone; later changes
    of the chain are not seen.
    """
    for chain in [m for m in model.modules() if type(m) is nn.Sequential]:
        if "forward" in vars(chain):
            continue
        layers = [each for each in chain if type(each) is not nn.Identity or _own(each)]
        steps: list[Callable[[Tensor], Tensor]] = []
        while layers:
            used = layers[: 3 if type(layers[1 % len(layers)]) is nn.ReLU else 2]
            step = _one_step(used)
            steps.append(step or used[0])
            del layers[: len(used) if step else 1]
        if any(isinstance(step, PooledConvolution) for step in steps):
            chain.forward = partial(_called, steps)  # type: ignore[method-assign]


def _called(steps: Sequence[Callable[[Tensor], Tensor]], input: Tensor) -> Tensor:
    for step in steps:
        input = step(input)
    return input


def _one_step(layers: Sequence[nn.Module]) -> PooledConvolution | None:
    """The layers as one step, if they can be and few pixels are chosen."""
    convolution, pooling = layers[0], layers[-1]
    if type(convolution) is not nn.Conv2d or type(pooling) is not nn.MaxPool2d:
        return None
    plain = all(
        _pair(value) == (1, 1)
        for value in (convolution.stride, convolution.dilation, convolution.groups)
    )
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    pools = _pair(pooling.padding) == (0, 0) and _pair(pooling.dilation) == (1, 1)
    rows, columns = _pair(pooling.stride)
    span = convolution.in_channels * convolution.kernel_size[1]
    fits = plain and zeros and pools and not pooling.return_indices
    sizes = LEAST_SPAN <= span <= MOST_SPAN and rows * columns * MOST >= 1
    if fits and sizes and not any(_own(layer) for layer in layers):
        return PooledConvolution(convolution, pooling, rectified=len(layers) == 3)
    return None


def _own(layer: nn.Module) -> bool:
    """True if a call of the layer does more than its class."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks)
    backward = (layer._backward_hooks, layer._backward_pre_hooks)
    return "forward" in vars(layer) or any(map(len, (*hooks, *backward)))


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = value if isinstance(value, Iterable) else (value,)
    return int(first), int(rest[0] if rest else first)


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)

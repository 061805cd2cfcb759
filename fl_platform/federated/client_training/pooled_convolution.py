"""A convolution whose map only a max pooling reads: its gradient is 0 but at the chosen pixels."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fl_platform.core.native import compiler as native

MOST = 0.25  # pooled places per pixel of the map; of more, the dense gradient is as fast
LEAST_SPAN = 32  # numbers of a kernel's row that lie side by side in memory
WORTH_BUILDING = 1 << 24  # multiplications of a batch; for fewer, a build costs more than it saves
ROWS_AT_ONCE = 2  # of the pooled map: the images below them fit into the first cache


class PooledConvolution(nn.Module):
    """`nn.Conv2d`, a ReLU or nothing, and `nn.MaxPool2d` in one layer, for training on a CPU.

    Outputs are those of the three layers to the last bit. The gradient is the same sum, added in
    another order: the pooling passes a quarter of it on or less, dropout and ReLU less again, and a
    compiled kernel reads only that. Where the kernel cannot be used, the three layers are.

    Args:
        convolution: stride and dilation 1, one group, zero padding; its parameters are shared.
        pooling: without padding and dilation.
        rectified: whether a ReLU lies between them.
    """

    def __init__(self, convolution: nn.Conv2d, pooling: nn.MaxPool2d, rectified: bool) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.padding, self.rectified = convolution.padding, rectified
        self.kernel_size, self.stride = pooling.kernel_size, pooling.stride
        self.ceil_mode = pooling.ceil_mode

    def forward(self, images: Tensor) -> Tensor:
        """The pooled map of ``images`` of shape ``(B, C, height, width)``."""
        outputs: Tensor
        if self._library(images) is not None:
            outputs = _Pooled.apply(images, self.weight, self.bias, self)
            return outputs
        outputs, _ = self.pooled(images)
        return F.relu(outputs) if self.rectified else outputs

    def pooled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The largest numbers of the map, before a ReLU, and where they were."""
        maps = F.conv2d(images, self.weight, self.bias, padding=self.padding)
        found: tuple[Tensor, Tensor] = F.max_pool2d(
            maps, self.kernel_size, self.stride, ceil_mode=self.ceil_mode, return_indices=True
        )
        return found

    def _library(self, images: Tensor) -> ctypes.CDLL | None:
        """The kernel, if it can be used for these images and pays."""
        if not (
            torch.is_grad_enabled()
            and images.requires_grad
            and images.device.type == "cpu"
            and images.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch.get_num_threads() == 1
        ):
            return None
        rows, columns = _pair(self.padding)
        height = images.shape[2] + 2 * rows - self.weight.shape[2] + 1
        width = images.shape[3] + 2 * columns - self.weight.shape[3] + 1
        work = len(images) * height * width * self.weight.numel()
        return self.library(build=work >= WORTH_BUILDING)

    def library(self, *, build: bool = True) -> ctypes.CDLL | None:
        """The compiled kernel for the sizes of this layer's weights."""
        _, channels, height, width = self.weight.shape
        text = native.source("pooled.cpp", HEIGHT=height, WIDTH=width, CHANNELS=channels)
        return native.library(text, native.FUSED, build=build)


class _Pooled(torch.autograd.Function):
    """Outputs by torch; gradients by the compiled kernel."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, layer: PooledConvolution
    ) -> Tensor:
        outputs, chosen = layer.pooled(images)
        if layer.rectified:
            outputs = F.relu(outputs)
        ctx.layer = layer
        ctx.save_for_backward(images, weight, chosen, *([outputs] if layer.rectified else []))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layer: PooledConvolution = ctx.layer
        images, weight, chosen, *outputs = ctx.saved_tensors
        if outputs:
            gradient = gradient * (outputs[0] > 0)
        rows, columns = _pair(layer.padding)
        images = _last(F.pad(images, (columns, columns, rows, rows)))
        to_images = torch.zeros_like(images)
        to_weight = torch.zeros_like(_last(weight))
        to_bias = weight.new_zeros(len(weight))
        gradient, chosen, weight = _last(gradient), _last(chosen), _last(weight)
        mapped = [images.shape[2 + i] - weight.shape[2 + i] + 1 for i in (0, 1)]
        pooled = gradient.shape[2:].numel()
        at_once = min(pooled, ROWS_AT_ONCE * gradient.shape[3])
        sizes = (len(images), *images.shape[2:], len(weight), pooled, *mapped, at_once)
        library = layer.library()
        assert library is not None, "the library that the forward pass has loaded"
        library.pooled(
            *(ctypes.c_void_p(t.data_ptr()) for t in (images, weight, gradient, chosen)),
            *(ctypes.c_long(size) for size in sizes),
            *(ctypes.c_void_p(t.data_ptr()) for t in (to_images, to_weight, to_bias)),
        )
        height, width = (to_images.shape[2 + i] - 2 * (rows, columns)[i] for i in (0, 1))
        inner = to_images[:, :, rows : rows + height, columns : columns + width]
        return inner, to_weight, to_bias if layer.bias is not None else None, None


def pool_convolutions(model: nn.Module) -> None:
    """Put `PooledConvolution` in place of such layers in every ``nn.Sequential`` of ``model``.

    Parameters keep their names and their order.
    """
    for chain in [m for m in model.modules() if type(m) is nn.Sequential]:
        layers = list(chain)
        for i, layer in enumerate(layers):
            below = [j for j in range(i + 1, len(layers)) if type(layers[j]) is not nn.Identity]
            rectified = bool(below) and type(layers[below[0]]) is nn.ReLU
            last = below[int(rectified)] if len(below) > int(rectified) else i
            pooling = layers[last]
            if (
                isinstance(layer, nn.Conv2d)
                and isinstance(pooling, nn.MaxPool2d)
                and _fits(layer, pooling)
            ):
                chain[i] = PooledConvolution(layer, pooling, rectified)
                for j in range(i + 1, last + 1):
                    chain[j] = nn.Identity()


def _fits(convolution: nn.Conv2d, pooling: nn.MaxPool2d) -> bool:
    """True if the two can be one `PooledConvolution`, and few pixels are chosen."""
    known = type(convolution) is nn.Conv2d and type(pooling) is nn.MaxPool2d
    plain = all(
        _pair(value) == (1, 1)
        for value in (convolution.stride, convolution.dilation, convolution.groups)
    )
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    pools = _pair(pooling.padding) == (0, 0) and _pair(pooling.dilation) == (1, 1)
    rows, columns = _pair(pooling.stride)
    span = convolution.in_channels * convolution.kernel_size[1]
    hooked = any(
        hooks
        for layer in (convolution, pooling)
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    )
    return (
        known
        and plain
        and zeros
        and pools
        and not pooling.return_indices
        and not hooked
        and span >= LEAST_SPAN
        and rows * columns * MOST >= 1
    )


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)

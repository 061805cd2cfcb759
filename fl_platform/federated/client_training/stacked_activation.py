"""Max pooling, bias and ReLU behind a product, in one kernel where Triton is there."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fl_platform.federated.client_training import stacked_kernels
from fl_platform.federated.client_training.stacked_layers import Bias, Layer, MaxPool, ReLU


class Activation(Layer):
    """A max pooling, a bias and a ReLU in this order, of which one may be missing.

    On an H100 torch's own operations move twice the memory: they read and write the maps for each
    of the three, with places of 8 bytes.

    Args:
        parts: the layers, computed one by one where there is no kernel.
    """

    def __init__(self, parts: Sequence[Layer]) -> None:
        self.parts = parts
        self.slots = [slot for part in parts for slot in part.slots]
        self.out = parts[-1].out
        self._relu = isinstance(parts[-1], ReLU)
        self._window = parts[0].window if isinstance(parts[0], MaxPool) else (1, 1)
        self._kept: tuple[Tensor, Tensor] | None = None
        self._size = (1, 1)

    def numbers(self, batch: int) -> int:
        """Those of its parts."""
        return sum(part.numbers(batch) for part in self.parts)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """``max(pool(x) + b, 0)``."""
        fast = stacked_kernels.kernels(x)
        if fast is None:
            for part in self.parts:
                x = part.forward(x, parameters)
            return x
        maps = x.contiguous().view(*x.shape[:2], *([1] * (5 - x.ndim)), *x.shape[2:])
        self._size = (maps.shape[2], maps.shape[3])
        out = self.out[:2] if len(self.out) == 3 else (1, 1)
        bias = self.slots[0].of(parameters) if self.slots else None
        self._kept = fast.activate(maps, bias, self._relu, self._window, tuple(out))
        return self._kept[0].view(*x.shape[:2], *self.out)

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """``dy`` where the output is positive, to the places of the values; its sums: the bias."""
        fast = stacked_kernels.kernels(dy)
        if fast is None or self._kept is None:
            for part in reversed(self.parts):
                dy = part.backward(dy, parameters, gradients, wanted or part is not self.parts[0])
            return dy
        kept, self._kept = self._kept, None
        bias = self.slots[0].of(gradients) if self.slots and self.slots[0].trains else None
        upper = dy.contiguous().view(kept[0].shape)
        dx: Tensor = fast.activate_back(upper, kept, bias, self._relu, self._window, self._size)
        return dx if dy.ndim == 5 else dx.view(dy.shape)

    def forget(self) -> None:
        """Drop it in its parts too."""
        super().forget()
        for part in self.parts:
            part.forget()


def fused(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with each max pooling, bias and ReLU that follow each other as one."""
    found: list[Layer] = []
    for layer in layers:
        last = found[-1] if found else None
        before = last.parts if isinstance(last, Activation) else [last]
        if last is not None and _follows(before[-1], layer):
            found[-1] = Activation([*before, layer])
        else:
            found.append(layer)
    return found


def _follows(before: Layer | None, layer: Layer) -> bool:
    pools = isinstance(before, MaxPool) and before.disjoint
    if isinstance(layer, Bias):
        return pools
    return isinstance(layer, ReLU) and (pools or isinstance(before, Bias))

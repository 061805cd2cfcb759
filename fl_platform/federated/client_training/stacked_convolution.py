"""Convolutions of many clients as batched matrix products.

cuDNN's convolutions in groups, which ``torch.func.vmap`` asks for, are slow. A convolution is
instead one of three kinds of product, whichever costs least by its shapes (`convolution`):

* *patches*: every window of every image copied out (im2col), times the weights as they are;
* *bands*: images as they are, times the weights spread out along a row. Row o of the output is
  ``X[rows of its window] @ D[taps inside]``, where ``D[a]`` is the banded matrix
  (input columns x channels, output columns x channels) of tap row a. Zeros above and below an
  image are left out, so over a 2 x 2 map a 3 x 3 kernel takes 16 products in place of 36;
* *banded patches*: the rows of every window copied out, times the same banded matrices, which
  are then read once and not once per output row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fl_platform.federated.client_training import stacked_kernels
from fl_platform.federated.client_training.stacked_layers import Layer, Slot, write_product

# Multiply-adds of a forward pass, with the two products that follow backward, that take as long as
# writing or reading one number: 250 TFLOP/s against 3 TB/s on an H100.
NUMBER = 55


@dataclass(frozen=True)
class Axis:
    """How a kernel moves along one axis of an image.

    Attributes:
        size: of the image.
        kernel: taps.
        stride: between outputs.
        padding: zeros before and after.
        dilation: between taps.
    """

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def out(self) -> int:
        """Outputs."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // (
            self.stride
        ) + 1

    def at(self, output: int, tap: int) -> int:
        """The input that ``tap`` of ``output`` reads; outside 0 ... size - 1 it is a zero."""
        return output * self.stride - self.padding + tap * self.dilation

    def taps(self, output: int) -> range:
        """Those of an output that lie inside the image."""
        inside = [k for k in range(self.kernel) if 0 <= self.at(output, k) < self.size]
        return range(inside[0], inside[-1] + 1) if inside else range(0)

    def outputs(self, tap: int) -> range:
        """Those whose ``tap`` lies inside the image."""
        inside = [o for o in range(self.out) if 0 <= self.at(o, tap) < self.size]
        return range(inside[0], inside[-1] + 1) if inside else range(0)


class Convolution(Layer):
    """What all kinds have in common.

    Args:
        weight: ``(rows, columns, in, out)`` in the stack.
        rows: of the image.
        columns: of the image.
    """

    def __init__(self, weight: Slot, rows: Axis, columns: Axis) -> None:
        self.slots = (weight,)
        self.rows, self.columns = rows, columns
        self.outputs, self.inputs = weight.axes[:2]
        self.out = (rows.out, columns.out, self.outputs)
        self._x: Tensor | None = None

    def multiply_adds(self) -> int:
        """Of one image's forward pass."""
        raise NotImplementedError

    def copied(self, batch: int) -> int:
        """Numbers of one client's copies of windows and weights."""
        raise NotImplementedError

    def moved(self, batch: int) -> int:
        """Numbers that one client's step writes and reads, but for what all kinds move."""
        raise NotImplementedError

    def numbers(self, batch: int) -> int:
        """Copies forward and backward; inputs and outputs, their gradients and turned copies."""
        maps = self.rows.size * self.columns.size * self.inputs + math.prod(self.out)
        return 2 * self.copied(batch) + 3 * batch * maps

    def cost(self, batch: int) -> int:
        """Of one client's step, in multiply-adds of its forward pass."""
        return batch * self.multiply_adds() + NUMBER * self.moved(batch)


class Patches(Convolution):
    """Windows copied out, ``(C, B Ho Wo, rows columns in) @ (C, rows columns in, out)``.

    Attributes:
        down: how windows move over rows.
        along: how they move over columns.
        depth: numbers of one window's output.
    """

    def __init__(self, weight: Slot, rows: Axis, columns: Axis) -> None:
        super().__init__(weight, rows, columns)
        self.down, self.along, self.depth = rows, columns, self.outputs

    @property
    def _window(self) -> int:
        """Numbers of one window."""
        return self.down.kernel * self.along.kernel * self.inputs

    def multiply_adds(self) -> int:
        """Of every tap of every window, zeros included."""
        return self.down.out * self.along.out * self._window * self.depth

    def copied(self, batch: int) -> int:
        """Windows."""
        return batch * self.down.out * self.along.out * self._window

    def moved(self, batch: int) -> int:
        """Windows are written and read by two products, their gradients written and added up."""
        return 7 * self.copied(batch) + 2 * batch * math.prod(self.out)

    def _matrix(self, parameters: Tensor, dtype: torch.dtype) -> Tensor:
        """``(C, window, depth)``."""
        return self.slots[0].of(parameters).flatten(1, 3).to(dtype)

    def _write_gradient(self, windows: Tensor, dy: Tensor, gradients: Tensor) -> None:
        write_product(windows.mT, dy, self.slots[0].of(gradients).flatten(1, 3))

    def _windows(self, padded: Tensor) -> Tensor:
        """``(C, B, Ho, Wo, rows, columns, in)``: windows of padded images, a view."""
        clients, batch, height, width, channels = padded.stride()
        down, along = self.down, self.along
        return padded.as_strided(
            (*padded.shape[:2], down.out, along.out, down.kernel, along.kernel, self.inputs),
            (
                *(clients, batch, height * down.stride, width * along.stride),
                *(height * down.dilation, width * along.dilation, channels),
            ),
            padded.storage_offset(),
        )

    def _copies(self, x: Tensor) -> Tensor:
        """``(C, B Ho Wo, window)``: windows of images."""
        fast = stacked_kernels.kernels(x)
        if fast is not None and x.is_contiguous():
            copies: Tensor = fast.windows(x, self.down, self.along)
            return copies
        top, left = self.down.padding, self.along.padding
        padded = torch.nn.functional.pad(x, (0, 0, left, left, top, top)).contiguous()
        return self._windows(padded).reshape(len(x), -1, self._window)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Windows times weights."""
        windows = self._x = self._copies(x)
        y = torch.bmm(windows, self._matrix(parameters, x.dtype))
        return y.view(*x.shape[:2], *self.out)

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """``dW = windows^T dy``; the windows' gradients are added up tap by tap."""
        assert self._x is not None
        windows, self._x = self._x, None
        flat = dy.reshape(len(dy), -1, self.depth)
        if self.slots[0].trains:
            self._write_gradient(windows, flat, gradients)
        if not wanted:
            return dy
        down, along = self.down, self.along
        each = torch.bmm(flat, self._matrix(parameters, dy.dtype).mT).view(
            *dy.shape[:2], down.out, along.out, down.kernel, along.kernel, self.inputs
        )
        height, width = down.size + 2 * down.padding, along.size + 2 * along.padding
        padded = dy.new_zeros(*dy.shape[:2], height, width, self.inputs)
        into = self._windows(padded)
        whole = along.out == 1  # one window a row: its columns do not overlap
        for i in range(down.kernel):
            for j in [slice(None)] if whole else range(along.kernel):
                into[..., i, j, :].add_(each[..., i, j, :])
        top, left = down.padding, along.padding
        return padded[:, :, top : top + down.size, left : left + along.size]


class Banded(Convolution):
    """Weights spread out along a row: one banded matrix per tap row."""

    def __init__(self, weight: Slot, rows: Axis, columns: Axis) -> None:
        super().__init__(weight, rows, columns)
        self._dense: Tensor | None = None
        self._table = torch.empty(0)
        self._steps = [columns.outputs(k) for k in range(columns.kernel)]

    @property
    def _shape(self) -> tuple[int, ...]:
        columns = self.columns
        return (self.rows.kernel, columns.size, self.inputs, columns.out, self.outputs)

    @property
    def _band(self) -> int:
        """Numbers of one tap row's banded matrix."""
        return math.prod(self._shape[1:])

    def prepare(self, clients: int, device: torch.device, dtype: torch.dtype) -> None:
        """The banded matrices: zeros outside the band are written once."""
        self._dense = torch.zeros(clients, *self._shape, device=device, dtype=dtype)
        self._table = self.steps_table(device)

    def steps_table(self, device: torch.device) -> Tensor:
        """``(taps, 3)`` int32: the first input and output column of each tap, and how many."""
        columns = self.columns
        rows = [
            (columns.at(steps.start, tap), steps.start, len(steps)) if steps else (0, 0, 0)
            for tap, steps in enumerate(self._steps)
        ]
        return torch.tensor(rows, dtype=torch.int32).to(device)

    def _diagonal(self, dense: Tensor, tap: int) -> Tensor:
        """``(C, rows, n, in, out)``: where the weight of column ``tap`` stands, a view."""
        clients, row, column, channel, output, _ = dense.stride()
        steps, first = self._steps[tap], self.columns.at(self._steps[tap].start, tap)
        return dense.as_strided(
            (len(dense), self.rows.kernel, len(steps), self.inputs, self.outputs),
            (clients, row, column * self.columns.stride + output, channel, 1),
            dense.storage_offset() + first * column + steps.start * output,
        )

    def _spread(self, parameters: Tensor) -> Tensor:
        """The banded matrices of the weights at hand."""
        assert self._dense is not None
        dense, weight = self._dense[: len(parameters)], self.slots[0].of(parameters)
        fast = stacked_kernels.kernels(weight)
        if fast is not None:
            fast.spread(weight, dense, self._table, self.columns.stride)
            return dense
        for tap, steps in enumerate(self._steps):
            if steps:
                self._diagonal(dense, tap).copy_(weight[:, :, tap, None])
        return dense

    def _collect(self, dense: Tensor, gradients: Tensor) -> None:
        """The gradient of each weight is the sum of those of its copies."""
        into = self.slots[0].of(gradients)
        fast = stacked_kernels.kernels(into)
        if fast is not None:
            fast.collect(dense, into, self._table, self.columns.stride)
            return
        for tap, steps in enumerate(self._steps):
            if steps:
                part = into[:, :, tap]
                torch.sum(self._diagonal(dense, tap), 2, dtype=into.dtype, out=part)
            else:
                into[:, :, tap] = 0.0


class BandedPatches(Banded, Patches):
    """Rows of windows copied out, times the banded matrices of all tap rows."""

    def __init__(self, weight: Slot, rows: Axis, columns: Axis) -> None:
        super().__init__(weight, rows, columns)
        self.along, self.depth = (
            Axis(columns.size, columns.size, 1, 0, 1),
            (columns.out * self.outputs),
        )

    def copied(self, batch: int) -> int:
        """Rows of windows, and banded matrices."""
        return batch * self.rows.out * self._window + self.rows.kernel * self._band

    def moved(self, batch: int) -> int:
        """As for patches, and five times the banded matrices."""
        windows = batch * self.rows.out * self._window
        return 7 * windows + 5 * self.rows.kernel * self._band + 2 * batch * math.prod(self.out)

    def _matrix(self, parameters: Tensor, dtype: torch.dtype) -> Tensor:
        return self._spread(parameters).flatten(1, 3).flatten(2)

    def _write_gradient(self, windows: Tensor, dy: Tensor, gradients: Tensor) -> None:
        dense = torch.bmm(windows.mT, dy)
        self._collect(dense.view(len(dy), *self._shape), gradients)


class Bands(Banded):
    """Images times banded matrices: a product per output row, a gradient per tap row."""

    def __init__(self, weight: Slot, rows: Axis, columns: Axis) -> None:
        super().__init__(weight, rows, columns)
        self._windows = [rows.taps(o) for o in range(rows.out)]
        self._reached = [rows.outputs(k) for k in range(rows.kernel)]

    @property
    def _inside(self) -> int:
        """Tap rows inside the image, of all output rows."""
        return sum(map(len, self._windows))

    def multiply_adds(self) -> int:
        """Of the tap rows inside the image, zeros of the bands included."""
        return self._inside * self._band

    def copied(self, batch: int) -> int:
        """The banded matrices of all tap rows."""
        return self.rows.kernel * self._band

    def moved(self, batch: int) -> int:
        """A banded matrix is read for each output row in its reach, rows of images for each tap."""
        read = self.columns.size * self.inputs
        given = self.columns.out * self.outputs
        matrices = (3 * self.rows.kernel + 2 * self._inside) * self._band
        return matrices + batch * self._inside * (3 * read + given)

    def _matrix(self, dense: Tensor, taps: range) -> Tensor:
        """``(C, taps x columns x in, columns x out)``, a view."""
        return dense[:, taps.start : taps.stop].flatten(1, 3).flatten(2)

    def _read(self, output: int) -> slice:
        """The rows of the image that an output row reads."""
        taps, rows = self._windows[output], self.rows
        return slice(rows.at(output, taps.start), rows.at(output, taps.stop - 1) + 1, rows.dilation)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Spread the weights, then a product for each output row."""
        x = self._x = x.contiguous()
        dense = self._spread(parameters)
        y = x.new_empty(*x.shape[:2], *self.out)
        for o, taps in enumerate(self._windows):
            into = y[:, :, o].flatten(2)
            if taps:
                torch.bmm(x[:, :, self._read(o)].flatten(2), self._matrix(dense, taps), out=into)
            else:
                into.zero_()
        return y

    def backward(self, dy: Tensor, parameters: Tensor, gradients: Tensor, wanted: bool) -> Tensor:
        """Products of the same matrices turned; a band's gradient is the sum along it."""
        assert self._x is not None
        assert self._dense is not None
        x, self._x = self._x, None
        if self.slots[0].trains:
            self._write_gradient(x, dy, gradients)
        if not wanted:
            return dy
        taps = self._windows[0]
        whole = self.rows.dilation == 1 and len(taps) == self.rows.size
        # Where the first output row reads all rows of the image, its product fills the gradient.
        dx = torch.empty_like(x) if whole else torch.zeros_like(x)
        dense = self._dense[: len(x)]
        for o, taps in enumerate(self._windows):
            if not taps:
                continue
            part, matrix = dy[:, :, o].flatten(2), self._matrix(dense, taps).mT
            if self.rows.dilation == 1:
                into = dx[:, :, self._read(o)].flatten(2)
                if whole and o == 0:
                    torch.bmm(part, matrix, out=into)
                else:
                    into.baddbmm_(part, matrix)
            else:
                into = dx[:, :, self._read(o)]
                into.add_(torch.bmm(part, matrix).view(into.shape))
        return dx

    def _write_gradient(self, x: Tensor, dy: Tensor, gradients: Tensor) -> None:
        dense = x.new_empty(len(x), *self._shape)
        pairs = [self._rows_of(tap) for tap in range(self.rows.kernel)]
        # Row by row, any range of rows is one matrix; but most small maps need no such copy.
        if not all(_one_matrix(x[:, :, i]) and _one_matrix(dy[:, :, o]) for i, o in pairs):
            x, dy = (part.transpose(1, 2).contiguous().transpose(1, 2) for part in (x, dy))
        for tap, (read, given) in enumerate(pairs):
            band = dense[:, tap].flatten(3).flatten(1, 2)
            if len(self._reached[tap]):
                torch.bmm(_matrix(x[:, :, read]).mT, _matrix(dy[:, :, given]), out=band)
            else:
                band.zero_()
        self._collect(dense, gradients)

    def _rows_of(self, tap: int) -> tuple[slice, slice]:
        """The rows of the image that a tap row reads, and the output rows that it reaches."""
        reached = self._reached[tap]
        if not reached:
            return slice(0), slice(0)
        first, last = (self.rows.at(o, tap) for o in (reached.start, reached.stop - 1))
        return slice(first, last + 1, self.rows.stride), slice(reached.start, reached.stop)


def _one_matrix(x: Tensor) -> bool:
    """Whether rows ``(C, B, h, W, channels)`` are, in place, a matrix of B h rows per client."""
    return x.shape[2] <= 1 or x.stride(1) == x.shape[2] * x.stride(2)


def _matrix(x: Tensor) -> Tensor:
    """``(C, n, W x channels)``: rows of images that are one matrix, a view in either order."""
    rows = x.flatten(3)
    return (rows if _one_matrix(x) else rows.transpose(1, 2)).flatten(1, 2)


def convolution(weight: Slot, rows: Axis, columns: Axis, batch: int) -> Convolution:
    """The cheapest kind for batches of that size: a rule of shapes, never a timing."""
    kinds = [kind(weight, rows, columns) for kind in (Bands, BandedPatches, Patches)]
    return min(kinds, key=lambda kind: kind.cost(batch))

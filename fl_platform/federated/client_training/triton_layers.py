"""What stands between the products of a stack, each in one kernel; imports Triton.

All kernels work on ``(C, ...)`` tensors whose clients lie any distance apart and whose other
numbers lie side by side. Sums are added in float32 in a fixed order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from fl_platform.federated.client_training.stacked_convolution import Axis

BLOCK = 1024  # numbers of one program: 8 for each of 128 threads
TILE = 2048  # of one program with pixels and channels


@triton.jit
def _spread(  # type: ignore[no-untyped-def]
    weight, dense, steps, weight_row, dense_row,
    TAPS: tl.constexpr, CELLS: tl.constexpr, OUT: tl.constexpr, STRIDE: tl.constexpr,
    PITCH: tl.constexpr, COLUMN: tl.constexpr, ROW: tl.constexpr, MOST: tl.constexpr,
    COLLECTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    client = tl.program_id(2).to(tl.int64)
    tap_row, tap = tl.program_id(1) // TAPS, tl.program_id(1) % TAPS
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = cell < CELLS
    column, output = tl.load(steps + 3 * tap), tl.load(steps + 3 * tap + 1)
    reach = tl.full([BLOCK], 0, tl.int32) + tl.load(steps + 3 * tap + 2)
    at = weight + client * weight_row + tl.program_id(1) * CELLS + cell
    band = dense + client * dense_row + tap_row * ROW + cell // OUT * PITCH + cell % OUT
    if COLLECTS:
        total = tl.full([BLOCK], 0.0, tl.float32)
        for n in tl.static_range(MOST):
            place = band + ((column + n * STRIDE) * COLUMN + (output + n) * OUT)
            total += tl.load(place, mask=inside & (n < reach), other=0.0).to(tl.float32)
        tl.store(at, total, mask=inside)
    else:
        value = tl.load(at, mask=inside, other=0.0)
        for n in tl.static_range(MOST):
            place = band + ((column + n * STRIDE) * COLUMN + (output + n) * OUT)
            tl.store(place, value, mask=inside & (n < reach))


def spread(weight: Tensor, dense: Tensor, steps: Tensor, stride: int) -> None:
    """Write each weight to its places in the banded matrices; zeros outside are left.

    Args:
        weight: ``(C, rows, taps, in, out)``.
        dense: ``(C, rows, input columns, in, output columns, out)``.
        steps: ``(taps, 3)`` int32: the first input and output column of each tap, and how many.
        stride: input columns from one output column to the next.
    """
    _run(weight, dense, steps, stride, False)


def collect(dense: Tensor, weight: Tensor, steps: Tensor, stride: int) -> None:
    """Write the sum of the places of each weight to it; arguments as for `spread`."""
    _run(weight, dense, steps, stride, True)


def _run(weight: Tensor, dense: Tensor, steps: Tensor, stride: int, collects: bool) -> None:
    clients, rows, taps, channels, outputs = weight.shape
    cells = channels * outputs
    _spread[(triton.cdiv(cells, BLOCK), rows * taps, clients)](
        weight, dense, steps, weight.stride(0), dense.stride(0),
        TAPS=taps, CELLS=cells, OUT=outputs, STRIDE=stride,
        PITCH=dense.stride(3), COLUMN=dense.stride(2), ROW=dense.stride(1), MOST=dense.shape[4],
        COLLECTS=collects, BLOCK=BLOCK,
    )  # fmt: skip


@triton.jit
def _add(a, b):  # type: ignore[no-untyped-def]
    return a + b


@triton.jit
def _activate(  # type: ignore[no-untyped-def]
    x, bias, y, places, pixels, bias_row,
    H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, CHANNELS: tl.constexpr,
    DOWN: tl.constexpr, ALONG: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr,
    PIXELS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    client = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    inside = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
    out = pixel[:, None] * CHANNELS + channel[None, :]
    y += client * pixels * CHANNELS
    if DOWN * ALONG == 1:
        x += client * pixels * CHANNELS
        best = tl.load(x + out, mask=inside, other=0.0).to(tl.float32)
    else:
        images = pixels // (HO * WO)
        image, top, left = pixel // (HO * WO), pixel // WO % HO * DOWN, pixel % WO * ALONG
        x += client * images * (H * W * CHANNELS)
        places += client * pixels * CHANNELS
        best = tl.full([PIXELS, WIDE], float("-inf"), tl.float32)
        place = tl.full([PIXELS, WIDE], 0, tl.int32)
        for k in tl.static_range(DOWN * ALONG):
            row, column = top + k // ALONG, left + k % ALONG
            there = inside & ((row < H) & (column < W))[:, None]
            at = ((image * H + row) * W + column)[:, None] * CHANNELS + channel[None, :]
            value = tl.load(x + at, mask=there, other=float("-inf")).to(tl.float32)
            taken = (value > best) | (value != value)  # as torch: the first, but the last NaN
            best = tl.where(taken, value, best)
            place = tl.where(taken, k, place)
        tl.store(places + out, place.to(tl.uint8), mask=inside)
    if BIAS:
        shift = tl.load(bias + client * bias_row + channel, mask=channel < CHANNELS, other=0.0)
        best += shift.to(tl.float32)[None, :]
    if RELU:
        best = tl.where(best <= 0, 0.0, best)
    tl.store(y + out, best, mask=inside)


@triton.jit
def _activate_back(  # type: ignore[no-untyped-def]
    dy, y, places, dx, sums, pixels,
    H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, CHANNELS: tl.constexpr,
    DOWN: tl.constexpr, ALONG: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr,
    PIXELS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    client = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    inside = (pixel < pixels)[:, None] & (channel < CHANNELS)[None, :]
    out = pixel[:, None] * CHANNELS + channel[None, :]
    dy += client * pixels * CHANNELS
    gradient = tl.load(dy + out, mask=inside, other=0.0)
    if RELU:
        y += client * pixels * CHANNELS
        gradient = tl.where(tl.load(y + out, mask=inside, other=0.0) <= 0, 0.0, gradient)
    if BIAS:
        total = tl.reduce(gradient.to(tl.float32), 0, _add)
        at = (client * tl.num_programs(0) + tl.program_id(0)) * CHANNELS + channel
        tl.store(sums + at, total, mask=channel < CHANNELS)
    if DOWN * ALONG == 1:
        dx += client * pixels * CHANNELS
        tl.store(dx + out, gradient, mask=inside)
    else:
        images = pixels // (HO * WO)
        image, top, left = pixel // (HO * WO), pixel // WO % HO * DOWN, pixel % WO * ALONG
        dx += client * images * (H * W * CHANNELS)
        places += client * pixels * CHANNELS
        place = tl.load(places + out, mask=inside, other=0).to(tl.int32)
        for k in tl.static_range(DOWN * ALONG):
            row, column = top + k // ALONG, left + k % ALONG
            there = inside & ((row < H) & (column < W))[:, None]
            at = ((image * H + row) * W + column)[:, None] * CHANNELS + channel[None, :]
            tl.store(dx + at, tl.where(place == k, gradient, 0.0), mask=there)


def _tile(channels: int) -> tuple[int, int]:
    """Pixels and channels of one program."""
    wide = min(128, triton.next_power_of_2(channels))
    return TILE // wide, wide


def activate(
    x: Tensor, bias: Tensor | None, relu: bool, window: tuple[int, int], out: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Largest value of each window, plus a number per channel, and of that the positive part.

    Args:
        x: ``(C, B, H, W, channels)``, side by side; written over where the window is one pixel.
        bias: ``(C, channels)``.
        relu: whether negative values become 0.
        window: rows and columns, that lie beside each other without gap.
        out: rows and columns of the result.

    Returns:
        The result ``(C, B, *out, channels)``, and uint8 which pixel of its window each value was.
    """
    clients, batch, height, width, channels = x.shape
    alone = window == (1, 1)
    y = x if alone else x.new_empty(clients, batch, *out, channels)
    places = x if alone else torch.empty_like(y, dtype=torch.uint8)
    pixels, (tall, wide) = batch * out[0] * out[1], _tile(channels)
    _activate[(triton.cdiv(pixels, tall), triton.cdiv(channels, wide), clients)](
        x, x if bias is None else bias, y, places, pixels, 0 if bias is None else bias.stride(0),
        H=height, W=width, HO=out[0], WO=out[1], CHANNELS=channels,
        DOWN=window[0], ALONG=window[1], BIAS=bias is not None, RELU=relu,
        PIXELS=tall, WIDE=wide,
    )  # fmt: skip
    return y, places


def activate_back(
    dy: Tensor,
    kept: tuple[Tensor, Tensor],
    bias: Tensor | None,
    relu: bool,
    window: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Gradient to the input of `activate` of that size; ``dy``, side by side, may be written over.

    Args:
        dy: ``(C, B, Ho, Wo, channels)``.
        kept: what `activate` returned.
        bias: ``(C, channels)``, where its gradient goes; ``None`` for nowhere.
        relu: as for `activate`.
        window: as for `activate`.
        size: rows and columns of the input.
    """
    clients, batch, rows, columns, channels = dy.shape
    alone, (down, along) = window == (1, 1), window
    covered = rows * down >= size[0] and columns * along >= size[1]
    shape = (clients, batch, *size, channels)
    dx = dy if alone else dy.new_empty(shape) if covered else dy.new_zeros(shape)
    pixels, (tall, wide) = batch * rows * columns, _tile(channels)
    blocks = triton.cdiv(pixels, tall)
    sums = dy.new_empty(clients, blocks, channels, dtype=torch.float32) if bias is not None else dy
    _activate_back[(blocks, triton.cdiv(channels, wide), clients)](
        dy, kept[0], kept[1], dx, sums, pixels,
        H=size[0], W=size[1], HO=rows, WO=columns, CHANNELS=channels,
        DOWN=down, ALONG=along, BIAS=bias is not None, RELU=relu, PIXELS=tall, WIDE=wide,
    )  # fmt: skip
    if bias is not None:
        torch.sum(sums, 1, dtype=bias.dtype, out=bias)
    return dx


@triton.jit
def _read(  # type: ignore[no-untyped-def]
    images, index, scale, shift, out, taken, index_row,
    SIZE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    client, sample = tl.program_id(2).to(tl.int64), tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < SIZE
    image = tl.load(index + client * index_row + sample).to(tl.int64)
    value = tl.load(images + image * SIZE + at, mask=inside, other=0).to(tl.float32)
    channel = at % CHANNELS
    value = tl.load(shift + channel) + value * tl.load(scale + channel)
    tl.store(out + (client * taken + sample) * SIZE + at, value, mask=inside)


def read(images: Tensor, index: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """``(C, B, ...)`` chosen images times ``scale`` plus ``shift``, both per channel, in float32.

    Args:
        images: ``(n, ..., channels)`` uint8, side by side.
        index: ``(C, B)`` whose rows are side by side; each at least 0 and less than n.
        scale: ``(channels,)`` float32.
        shift: ``(channels,)`` float32.
        dtype: of the result.
    """
    clients, batch = index.shape
    out = torch.empty(clients, batch, *images.shape[1:], dtype=dtype, device=images.device)
    size = images[0].numel()
    _read[(triton.cdiv(size, BLOCK), batch, clients)](
        images, index, scale, shift, out, batch, index.stride(0),
        SIZE=size, CHANNELS=len(scale), BLOCK=BLOCK,
    )  # fmt: skip
    return out


@triton.jit
def _windows(  # type: ignore[no-untyped-def]
    x, out,
    H: tl.constexpr, W: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
    ALONG: tl.constexpr, DOWN_STEP: tl.constexpr, ALONG_STEP: tl.constexpr,
    TOP: tl.constexpr, LEFT: tl.constexpr, DOWN_GAP: tl.constexpr, ALONG_GAP: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < OUTPUTS * TALL * WIDE * CHANNELS
    channel, rest = at % CHANNELS, at // CHANNELS
    b, rest = rest % WIDE, rest // WIDE
    a, place = rest % TALL, rest // TALL
    row = place // ALONG * DOWN_STEP - TOP + a * DOWN_GAP
    column = place % ALONG * ALONG_STEP - LEFT + b * ALONG_GAP
    there = inside & (row >= 0) & (row < H) & (column >= 0) & (column < W)
    x += image * (H * W * CHANNELS)
    value = tl.load(x + ((row * W + column) * CHANNELS + channel), mask=there, other=0.0)
    tl.store(out + image * (OUTPUTS * TALL * WIDE * CHANNELS) + at, value, mask=inside)


def windows(x: Tensor, down: Axis, along: Axis) -> Tensor:
    """``(C, B Ho Wo, rows columns channels)``: every window of images ``(C, B, H, W, channels)``.

    Args:
        x: side by side.
        down: how windows move over rows.
        along: how they move over columns.
    """
    clients, batch, height, width, channels = x.shape
    outputs, size = down.out * along.out, down.kernel * along.kernel * channels
    out = x.new_empty(clients, batch * outputs, size)
    _windows[(clients * batch, triton.cdiv(outputs * size, BLOCK))](
        x, out, H=height, W=width, CHANNELS=channels, OUTPUTS=outputs, ALONG=along.out,
        DOWN_STEP=down.stride, ALONG_STEP=along.stride, TOP=down.padding, LEFT=along.padding,
        DOWN_GAP=down.dilation, ALONG_GAP=along.dilation, TALL=down.kernel, WIDE=along.kernel,
        BLOCK=BLOCK,
    )  # fmt: skip
    return out

"""Estimate of a run's GPU memory by formula, before the run."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from torch import nn

from fl_platform.federated.evaluation import MOST, VALUES
from fl_platform.models.size import work_per_image

FLOAT = 4  # bytes
CONTEXT = 700 * 2**20  # of a process on a card: CUDA's context and the libraries; assumed
STACKS_MOST = 2**34  # limit of a chunk of clients that are trained in parallel
SIDE_BY_SIDE = ("stacked", "vmapped")


@dataclass(frozen=True)
class Footprint:
    """Bytes on the device, for n participants of which m train, d parameters and batches of B.

    Attributes:
        context: memory of a process before its first tensor.
        rows: ``4 n d``, the matrix of updates.
        server: ``4 n d`` again, for sorted or extended rows, and eight vectors of ``4 d``.
        trainer: ``4 c (3 d + 2 B (a + u))``: parameters, gradients and momentum of the c clients
            that train side by side (1, or m up to 16 GiB), and for each image of a batch the a
            values that leave layers, the u values of unfolded inputs, and a gradient for each.
        data: the images as bytes and eight bytes per label, of training and evaluation.
        evaluation: ``4 E (i + 2 l)`` for steps of E images of i values, l of the largest layer.
        model: ``16 d``: the global weights, their gradient, a flat copy, an optimizer's moment.
    """

    context: int
    rows: int
    server: int
    trainer: int
    data: int
    evaluation: int
    model: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(astuple(self))


def footprint(
    model: nn.Module,
    image_shape: tuple[int, ...],
    *,
    clients: int,
    trained: int,
    batch: int,
    images: tuple[int, int],
    way: str,
) -> Footprint:
    """Estimate the memory of a run on a GPU; see `Footprint` for the formula.

    Args:
        model: the network, on any device.
        image_shape: channels, height, width.
        clients: number of participants of a round, n.
        trained: number of them that train, m.
        batch: images of a client's step, B.
        images: images of training and of evaluation, one byte per value.
        way: name of the client trainer.
    """
    work = work_per_image(model, image_shape)
    d = sum(value.numel() for value in model.parameters() if value.requires_grad)
    values = 1
    for side in image_shape:
        values *= side
    matrix = FLOAT * clients * d
    one = FLOAT * (3 * d + 2 * batch * (values + work.activations + work.unfolded))
    trainer = min(trained * one, max(one, STACKS_MOST)) if way in SIDE_BY_SIDE else one
    step = min(images[1], MOST["cuda"], max(1, VALUES["cuda"] // values))
    return Footprint(
        context=CONTEXT,
        rows=matrix,
        server=matrix + 8 * FLOAT * d,
        trainer=trainer,
        data=sum(images) * (values + 8),
        evaluation=FLOAT * step * (values + 2 * work.largest),
        model=4 * FLOAT * d,
    )

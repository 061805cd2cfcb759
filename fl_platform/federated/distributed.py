"""One run over several processes: the division of clients and coordinates.

Process r of R trains the r-th part of a round's clients and so starts with some whole rows. One
exchange turns them into all rows of the r-th part of the coordinates, which attack, defense and
metrics use through `ShardedUpdates`. The aggregate's parts are gathered for the server's step,
which is equal in every process. Besides its own clients' rows, n d / R numbers, a process holds
n d / R further numbers, never n d.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed

from fl_platform.core import Updates
from fl_platform.core.rule import facts_of, unwrapped
from fl_platform.core.sharded import ShardedUpdates
from fl_platform.federated.callbacks.roles import rule_name


class Alone:
    """A single process, with all clients and all coordinates."""

    rank, size = 0, 1

    def share(self, count: int) -> slice:
        """This process's part of ``count`` clients or coordinates; sizes differ by at most 1."""
        return self._share(count, self.rank)

    def width(self, dimension: int) -> int:
        """Number of ``dimension`` coordinates of this process."""
        own = self.share(dimension)
        return int(own.stop - own.start)

    def exchange(self, own: Tensor, received: Tensor) -> Tensor:
        """Exchange of whole rows of some clients for some coordinates of all clients.

        Args:
            own: ``(n_r, d)`` rows of this process's share of the n clients.
            received: ``(n, d_r)`` written: this process's coordinates of all n rows.

        Returns:
            ``(n, d_r)``: ``own`` for a single process, else ``received``.
        """
        return own

    def updates(self, matrix: Tensor) -> Updates:
        """Updates with ``(m, d_r)`` in this process."""
        return Updates(matrix)

    def whole(self, part: Tensor) -> Tensor:
        """``(d,)`` from the ``(d_r,)`` of all processes."""
        return part

    def sum(self, part: Tensor) -> Tensor:
        """The sum of ``part`` over all processes."""
        return part

    def any(self, flag: bool) -> bool:
        """True if ``flag`` is true in at least one process."""
        return flag

    def _share(self, count: int, rank: int) -> slice:
        each, more = divmod(count, self.size)
        start = rank * each + min(rank, more)
        return slice(start, start + each + (rank < more))


class Ranks(Alone):
    """Process ``rank`` of ``size`` in torch's default process group."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device

    def exchange(self, own: Tensor, received: Tensor) -> Tensor:
        """Exchange one row per process at a time, so that 2 d numbers are in transit, not n d."""
        dimension, width = own.shape[1], received.shape[1]
        cuts = [self._share(dimension, r) for r in range(self.size)]
        rows = [self._share(len(received), r) for r in range(self.size)]
        for turn in range(max(r.stop - r.start for r in rows)):
            busy = [r.start + turn < r.stop for r in rows]
            sends = busy[self.rank]
            row = own[turn] if sends else own.new_empty(0)
            arrived = received.new_empty(sum(busy) * width)
            distributed.all_to_all_single(
                arrived,
                row,
                [width * came for came in busy],
                [(cut.stop - cut.start) * sends for cut in cuts],
            )
            places = [r.start + turn for r, came in zip(rows, busy, strict=True) if came]
            received[places] = arrived.view(-1, width)
        return received

    def updates(self, matrix: Tensor) -> Updates:
        """Updates whose sums along a row are taken over all processes."""
        return ShardedUpdates(matrix, self)

    def whole(self, part: Tensor) -> Tensor:
        """Gather the parts, padded by at most one number to a common length."""
        counts = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        counts[self.rank] = len(part)
        widths = self.sum(counts).tolist()
        padded = part.new_zeros(max(widths))
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in widths]
        distributed.all_gather(parts, padded)
        return torch.cat([one[:width] for one, width in zip(parts, widths, strict=True)])

    def sum(self, part: Tensor) -> Tensor:
        """The sum of ``part`` over all processes, with the same bits on each."""
        return self._reduced(part, distributed.ReduceOp.SUM)

    def largest(self, part: Tensor) -> Tensor:
        """The elementwise maximum of ``part`` over all processes."""
        return self._reduced(part, distributed.ReduceOp.MAX)

    def any(self, flag: bool) -> bool:
        """True if ``flag`` is true in at least one process."""
        return bool(self.largest(torch.tensor(int(flag))))

    def _reduced(self, part: Tensor, how: Any) -> Tensor:
        total = part.detach().to(self.device, copy=True).contiguous()
        distributed.all_reduce(total, how)
        return total.to(part.device)


def join(trainer: Trainer, rules: Iterable[Any], dimension: int) -> Alone:
    """This process's place among those of ``trainer``.

    Args:
        trainer: a trainer, with Lightning's ``strategy="ddp"`` for several processes.
        rules: attack, mixings and defense of the run.
        dimension: d.

    Raises:
        ValueError: another strategy, fewer coordinates than processes, or a rule that reduces over
            coordinates without `Updates`; the message names it.
    """
    size = trainer.world_size
    if size == 1:
        return Alone()
    if not isinstance(trainer.strategy, DDPStrategy):
        raise ValueError(
            f"Expected strategy='ddp' for {size} processes, got"
            f" {type(trainer.strategy).__name__}; every process requires the whole model."
        )
    if dimension < size:
        raise ValueError(
            f"Expected at most one process per coordinate, got {size} for {dimension}."
        )
    reasons = [f"{rule_name(rule)} {why}" for rule in rules if (why := unfit(rule)) is not None]
    if reasons:
        raise ValueError(
            f"Expected rules that work on a part of the coordinates in each of {size} processes,"
            f" but {'; '.join(reasons)}. Run it in one process, or choose another rule."
        )
    return Ranks(trainer.global_rank, size, trainer.strategy.root_device)


def unfit(rule: Any) -> str | None:
    """The reason why a rule cannot work on a part of the coordinates; ``None`` if it can.

    The rule states it: ``@rule(shardable=True)``, or an attribute ``shardable = True`` of a rule
    that is only a callable. Such a rule computes every sum along a vector by ``Updates`` (``dot``,
    ``length``, ``summed``). A rule that states nothing is refused.
    """
    stated = facts_of(rule).shardable
    if callable(stated):
        stated = stated(unwrapped(rule))
    if isinstance(stated, str):
        return stated
    return None if stated else "does not state it (add @rule(shardable=True) if it is true)"

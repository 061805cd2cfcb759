"""The clients' samples, once in memory: inputs, targets, and the rows of each client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


@dataclass(frozen=True)
class Samples:
    """Inputs and targets in memory; integer images are normalised as a batch is read.

    Attributes:
        inputs: ``(N, ...)``, floating point, or uint8 images ``(N, C, H, W)``.
        targets: ``(N,)`` int64.
        mean: ``(C,)`` of the inputs over 255; used for uint8 inputs only.
        std: ``(C,)`` likewise.
    """

    inputs: Tensor
    targets: Tensor
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                "Expected as many targets as inputs, got"
                f" {len(self.inputs)} inputs and {len(self.targets)} targets."
            )

    @classmethod
    def of(cls, source: Samples | Dataset[Any]) -> Samples:
        """Samples as they are, or those of a data set that yields ``(input, target)`` pairs.

        Raises:
            TypeError: neither.
            ValueError: a data set without samples.
        """
        if isinstance(source, Samples):
            return source
        if not isinstance(source, Dataset):
            raise TypeError(
                "Expected Samples(inputs, targets) or a data set of (input, target) pairs, got"
                f" {type(source).__name__}."
            )
        inputs, targets = _pairs(source)
        if not inputs:
            raise ValueError("Expected a data set with at least one sample, got an empty one.")
        return cls(torch.stack(inputs), torch.tensor(targets))

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Samples:
        """These samples on ``device``."""
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))

    def read(
        self, index: Tensor | slice, change: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The normalised inputs and the targets at ``index``; ``change`` is applied first.

        Args:
            index: a slice, or ``(B,)`` integers in ``0 .. len(self) - 1``, in any order.
            change: of the inputs ``(B, ...)`` before they are normalised.

        Returns:
            Inputs ``(B, ...)``, of the default type where they are stored as uint8 (then
            ``(x / 255 - mean) / std``); targets ``(B,)``.

        Raises:
            IndexError: an index outside; on a GPU a device assertion.
        """
        if isinstance(index, Tensor):  # copies whole rows, on a processor faster than []
            inputs = self.inputs.index_select(0, index)
        else:
            inputs = self.inputs[index]
        if change is not None:
            inputs = change(inputs)
        if inputs.dtype == torch.uint8:
            dtype = torch.get_default_dtype()
            if dtype not in self._moments:  # once: a GPU would wait for each copy
                shape = (1, -1, *[1] * (inputs.ndim - 2))
                self._moments[dtype] = tuple(
                    torch.tensor(values, dtype=dtype, device=inputs.device).view(shape)
                    for values in (self.mean, self.std)
                )
            mean, std = self._moments[dtype]
            inputs = inputs.to(dtype).div_(255.0).sub_(mean).div_(std)
        return inputs, self.targets[index]

    @cached_property
    def host_targets(self) -> Tensor:
        """The targets on the CPU, copied once: only the first call waits for a GPU."""
        return self.targets.cpu()

    @cached_property
    def _moments(self) -> dict[torch.dtype, tuple[Tensor, ...]]:
        return {}


@dataclass(frozen=True)
class Federation:
    """The samples of all clients and each client's rows of them.

    Attributes:
        samples: every training sample once.
        clients: for each client the int64 indices of its samples.
        num_classes: number of classes of the targets.
        idle: clients that never train and may have no samples.
    """

    samples: Samples
    clients: tuple[Tensor, ...]
    num_classes: int
    idle: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        empty = [
            i for i, index in enumerate(self.clients) if len(index) == 0 and i not in self.idle
        ]
        if not self.clients or empty:
            raise ValueError(
                "Expected clients with at least one sample each, got"
                f" {len(self.clients)} clients of which {empty[:5]} are empty."
            )

    @classmethod
    def from_datasets(cls, datasets: Sequence[Dataset[Any]], num_classes: int) -> Federation:
        """One client per data set; every data set yields ``(input, target)`` pairs."""
        inputs, targets, clients, start = [], [], [], 0
        for dataset in datasets:
            own, labels = _pairs(dataset)
            inputs += own
            targets += labels
            clients.append(torch.arange(start, start + len(own)))
            start += len(own)
        samples = Samples(torch.stack(inputs), torch.tensor(targets))
        return cls(samples, tuple(clients), num_classes)

    def __len__(self) -> int:
        return len(self.clients)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of samples per client; a client without samples reports the mean of the others."""
        sizes = [len(index) for index in self.clients]
        mean = max(1, round(sum(sizes) / max(1, sum(size > 0 for size in sizes))))
        return tuple(size or mean for size in sizes)

    def to(self, device: torch.device) -> Federation:
        """This federation with its samples on ``device``; the index lists stay on the CPU."""
        return replace(self, samples=self.samples.to(device))


def _pairs(dataset: Dataset[Any]) -> tuple[list[Tensor], list[int]]:
    """The inputs and the targets of a data set of ``(input, target)`` pairs."""
    pairs = [dataset[i] for i in range(len(dataset))]  # type: ignore[arg-type]
    return [torch.as_tensor(x) for x, _ in pairs], [int(y) for _, y in pairs]

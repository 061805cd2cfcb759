"""Number of worker processes per GPU that its free memory and the CPU cores allow."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fl_platform.config import Config

SHARE = 0.9  # of the free memory that the estimates may fill


def fitting(config: Config, home: Path, cards: Sequence[str], cores: int) -> int:
    """Number of runs like that of ``config`` that fit on each of ``cards``.

    ``SHARE × free memory / estimated memory of a run`` on the card with the least free memory, at
    least 1 and at most ``cores / number of cards``; see `fl_platform.federated.memory_estimate`.
    The number is a bound on memory, not a prediction of speed.
    """
    free = free_memory(cards)
    if free is None:
        return 1
    return max(1, min(int(SHARE * free / memory_of(config, home)), cores // len(cards)))


def memory_of(config: Config, home: Path) -> int:
    """Estimated bytes of a run on a GPU; loads the run's data."""
    import torch

    from fl_platform.federated.memory_estimate import footprint
    from fl_platform.run.build import build_model, choose_local, load_population

    population = load_population(config, home)
    dataset, total = population.dataset, len(population.federation)
    clients = min(config.task.sampled or total, total)
    return footprint(
        build_model(config, dataset),
        dataset.image_shape,
        clients=clients,
        trained=clients,
        batch=config.task.local.batch,
        images=(
            len(dataset.train_labels),
            sum(len(samples) for samples in population.held_out.values()),
        ),
        way=choose_local(config, torch.device("cuda"), dataset).way,
    ).total


def free_memory(cards: Sequence[str]) -> int | None:
    """Free bytes on the card with the least free memory, by NVML; ``None`` without NVML."""
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        try:
            handles = [
                pynvml.nvmlDeviceGetHandleByIndex(int(card))
                if card.isdecimal()
                else pynvml.nvmlDeviceGetHandleByUUID(card)
                for card in cards
            ]
            return min(int(pynvml.nvmlDeviceGetMemoryInfo(handle).free) for handle in handles)
        finally:
            pynvml.nvmlShutdown()
    return None

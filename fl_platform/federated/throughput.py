"""Throughput of a run: images and floating-point operations per second, per round."""

from __future__ import annotations

import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from fl_platform.federated.callbacks.roles import find_roles
from fl_platform.federated.client_training.batches import samples_read
from fl_platform.federated.module import FederatedModule
from fl_platform.federated.round import Round
from fl_platform.models.size import work_per_image


class Throughput(Callback):
    """``speed/images_per_second`` and ``speed/training_teraflops`` of whole rounds.

    A round lasts from the end of the previous one to its own end, with server side, evaluation and
    commit; the first round of a process also contains one-time costs. Images are those that the
    clients' steps of SGD read, operations those of `work_per_image`.
    """

    logs = ("speed/images_per_second", "speed/training_teraflops")

    def __init__(self) -> None:
        self._last = 0.0
        self._operations = 0
        self._byzantine_train = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the work of an image and start the clock."""
        assert isinstance(pl_module, FederatedModule)
        adversary = find_roles(trainer)[1]
        self._byzantine_train = adversary is not None and adversary.trains
        samples = pl_module.federation.samples
        one, _ = samples.read(torch.zeros(1, dtype=torch.long, device=samples.targets.device))
        dtype = torch.float32 if one.is_floating_point() else one.dtype
        shape = tuple(one.shape[1:])
        self._operations = work_per_image(pl_module.model, shape, dtype).training
        self._last = time.perf_counter()

    def on_round_end(
        self, trainer: Trainer, module: FederatedModule, done: Round
    ) -> dict[str, float]:
        """Both rates of this round."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        trained = done.cohort.honest
        if self._byzantine_train:
            trained += done.cohort.byzantine
        own = module.federation.clients
        images = sum(samples_read(len(own[client]), module.local) for client in trained)
        return {
            "speed/images_per_second": images / seconds,
            "speed/training_teraflops": images * self._operations / seconds / 1e12,
        }

"""The server's learning rate over the rounds: a schedule of this project or of torch."""

from __future__ import annotations

from lightning.pytorch import Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fl_platform.core.schedules import Schedule


def server_rates(trainer: Trainer, schedule: Schedule | None) -> list[float]:
    """The rates of the optimizer's groups, which ``schedule`` multiplies; empty without one.

    Read before a checkpoint is restored, which sets the rates of a later round.

    Raises:
        ValueError: a scheduler of torch beside the schedule, or one that requires a metric, whose
            name Lightning drops under manual optimisation.
    """
    configs = trainer.lr_scheduler_configs
    if schedule is not None and configs:
        raise ValueError(
            "Expected server_schedule=None beside the scheduler of configure_optimizers, got both;"
            " leave one of them out."
        )
    if any(isinstance(config.scheduler, ReduceLROnPlateau) for config in configs):
        raise ValueError(
            "Expected a scheduler of the round alone from configure_optimizers, got"
            " ReduceLROnPlateau; step it in a callback's on_round_end, where the metrics are."
        )
    return [] if schedule is None else [g["lr"] for g in trainer.optimizers[0].param_groups]


def step_schedulers(trainer: Trainer) -> None:
    """Step the schedulers of ``configure_optimizers`` once per round.

    Lightning does not step them under manual optimisation. It drops ``interval`` and ``frequency``
    with a warning.
    """
    for config in trainer.lr_scheduler_configs:
        config.scheduler.step()  # type: ignore[call-arg]

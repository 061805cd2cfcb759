"""The server's step: the optimizer moves the model by the aggregate, at the rate of the round."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fl_platform.core import Aggregate
from fl_platform.core.deferred import on_device
from fl_platform.core.products import weighted_sum
from fl_platform.core.schedules import Schedule
from fl_platform.core.vector import state_tensors
from fl_platform.federated.distributed import Alone

State = Literal["parameters", "all"]


@dataclass(frozen=True)
class Trained:
    """The result of the training in this process.

    Attributes:
        rows: ``(trained, d_r)`` its coordinates (all, where it is alone) of all trained clients.
        buffer_rows: changes of the buffers by the clients that trained here, honest first.
        honest: which of the honest rows trained here.
        loss: mean of all honest clients; NaN without honest participants.
        losses: ``(trained,)`` of all trained clients; ``None`` if no rule asks for them.
    """

    rows: Tensor
    buffer_rows: Tensor | None
    honest: range
    loss: Tensor
    losses: Tensor | None = None


class ServerStep:
    """Steps a model by aggregates.

    Args:
        model: the global model.
        state: which of its tensors the aggregate covers, see `FederatedModule`.
        schedule: factor of the rate in each round; ``None`` for 1.
        rates: of the optimizer's groups, which the schedule multiplies, see `server_rates`.
        ranks: the processes of this run.
    """

    def __init__(
        self,
        model: nn.Module,
        state: State,
        schedule: Schedule | None,
        rates: Sequence[float],
        ranks: Alone,
    ) -> None:
        self.model, self.state = model, state
        self.schedule, self.rates = schedule, rates
        self.ranks = ranks

    def step(
        self,
        optimizer: Any,
        index: int,
        vector: Tensor,
        aggregate: Aggregate,
        trained: Trained,
        received: int,
    ) -> None:
        """The server's step at the rate of round ``index``; running statistics follow.

        Args:
            optimizer: the server's.
            index: t.
            vector: ``(d,)`` of all coordinates.
            aggregate: what the defense made of the rows.
            trained: what training left.
            received: how many rows the server has.
        """
        if self.schedule is not None:
            factor = self.schedule(index)
            for group, rate in zip(optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        start = 0
        for parameter in self.model.parameters():
            if not parameter.requires_grad:
                continue
            stop = start + parameter.numel()
            parameter.grad = vector[start:stop].view_as(parameter).clone()
            start = stop
        optimizer.step()
        self._step_buffers(vector[start:], aggregate, trained, received)

    def rate(self, index: int) -> dict[str, float]:
        """The scheduled rate of round ``index`` as a metric; empty where none is scheduled."""
        if self.schedule is None:
            return {}
        return {"round/server_lr": self.rates[0] * self.schedule(index)}

    def _step_buffers(
        self, stepped: Tensor, aggregate: Aggregate, trained: Trained, received: int
    ) -> None:
        """Running statistics follow as ``state`` says; ``stepped`` is their part of the vector."""
        buffers = list(self.model.buffers())
        if not buffers:
            return
        if self.state == "all":
            change = stepped.double()
        else:
            changes, own = trained.buffer_rows, trained.honest
            assert changes is not None
            # A Byzantine client reports the server's own statistics: a change of zero.
            weights = aggregate.weights
            if weights is None:
                weights = torch.ones(received, dtype=torch.float64, device=changes.device)
                if aggregate.dropped is not None:
                    weights[aggregate.dropped.to(changes.device)] = 0.0
                weights /= weights.sum().clamp(min=1.0)
            honest = weights[own.start : own.stop].to(changes)
            # Rows of weight zero are not read: a dropped row is NaN, and 0 * NaN is NaN.
            if on_device(changes):
                part = weighted_sum(changes, honest)
            else:
                used = honest.nonzero().flatten()
                part = honest[used] @ changes[used]
            change = self.ranks.sum(part)
        offset = 0
        for buffer in buffers:
            delta = change[offset : offset + buffer.numel()].view_as(buffer)
            offset += buffer.numel()
            if buffer.is_floating_point():
                buffer.sub_(delta.to(buffer.dtype))
            elif self.state == "all":
                buffer.copy_((buffer.double() - delta).round())


class ServerState:
    """What the server's side of a round changes, copied so that it can be put back."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, rules: Sequence[Any]) -> None:
        self._model, self._optimizer, self._rules = model, optimizer, rules
        self._tensors = [tensor.detach().clone() for tensor in state_tensors(model, "all")]
        self._states = copy.deepcopy(
            [self._optimizer.state_dict(), *(r.state_dict() if r else {} for r in self._rules)]
        )

    @torch.no_grad()
    def restore(self) -> None:
        """Put it all back."""
        for tensor, old in zip(state_tensors(self._model, "all"), self._tensors, strict=True):
            tensor.copy_(old)
        first, *states = self._states
        self._optimizer.load_state_dict(first)
        for rule, state in zip(self._rules, states, strict=True):
            if rule is not None:
                rule.load_state_dict(state)


def server_rates(trainer: Trainer, schedule: Schedule | None) -> list[float]:
    """The rates of the optimizer's groups, which ``schedule`` multiplies; empty without one.

    Read before a checkpoint is restored, which brings the rates of a later round.

    Raises:
        ValueError: there are schedulers of torch beside the schedule, or one that needs a metric,
            whose name Lightning drops where a module optimises by hand.
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
    """Step what ``configure_optimizers`` returned beside the optimizer, once a round.

    Lightning leaves this to a module that optimises by hand. It drops ``interval`` and
    ``frequency`` with a warning.
    """
    for config in trainer.lr_scheduler_configs:
        config.scheduler.step()  # type: ignore[call-arg]

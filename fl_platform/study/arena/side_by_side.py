"""Runs of one seed side by side: one set of batches, many models that are trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from fl_platform.config import Config
from fl_platform.core.attack_schedule import ALWAYS
from fl_platform.federated import Diverged, FederatedModule
from fl_platform.federated.callbacks.roles import AgnosticAdversary
from fl_platform.federated.client_training import Clients, WayName
from fl_platform.federated.client_training.batches import (
    Relabel,
    num_steps,
    side_by_side,
    stream,
)
from fl_platform.federated.client_training.vmapped import Vmapped
from fl_platform.federated.evaluation import evaluate
from fl_platform.federated.federation import Samples
from fl_platform.federated.sampling import Cohort, sample_cohort
from fl_platform.federated.server_step import Trained
from fl_platform.run.build import (
    Population,
    build_model,
    build_module,
    build_roles,
    choose_local,
    resolve_device,
)
from fl_platform.run.refusals import refused

ROOM = 2**20  # coordinates trained at once on a CPU; larger stacks leave its cache


@dataclass
class Course:
    """What one run of the arena gave.

    Attributes:
        curve: accuracy after each round, in percent, on the one set that was asked for.
        reason: why the run diverged; empty for one that did not.
    """

    curve: list[float]
    reason: str = ""


class ByHand(FederatedModule):
    """The module of a run without Lightning's loop: `SideBySide` calls the parts of its rounds.

    Every part, attack, defense, server step, is the module's own, so a run here is a run there.
    """

    _own_optimizer: Any = None

    def begin(self, roles: Sequence[Any]) -> None:
        """Take the roles and do what a trainer does before the first round."""
        self._own_optimizer = self.configure_optimizers()
        stand_in: Any = SimpleNamespace(
            callbacks=list(roles),
            world_size=1,
            optimizers=[self._own_optimizer],
            lr_scheduler_configs=[],
            loggers=[],
        )
        self._trainer = stand_in
        for role in roles:
            role.setup(stand_in, self, "fit")
        self.setup("fit")
        self._refuse_others()
        self.on_fit_start()

    def _refuse_others(self) -> None:
        if self._schedule != ALWAYS:
            raise ValueError(
                "Expected an attack without attack.schedule in the arena, which varies begin and"
                " period itself (attack=directional)."
            )
        if "losses" in self._aggregator.chain.asked:
            raise ValueError(
                "Expected a defense that requires no losses in the arena, where clients report"
                " none."
            )

    @property  # type: ignore[misc]
    def trainer(self) -> Any:
        """What stands in for Lightning's trainer."""
        return self._trainer

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The server's optimizer."""
        return self._own_optimizer

    def start(self) -> Tensor:
        """``(d,)`` the parameters of the global model, a copy."""
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])

    def cohort(self, index: int) -> Cohort:
        """Who is honest and who is Byzantine in round ``index``."""
        return sample_cohort(
            index, len(self.federation), self.byzantine, self.sampled, self.sampling, self.seed
        )

    def parts(self, cohort: Cohort) -> list[tuple[tuple[int, ...], Relabel | None]]:
        """The clients that train, honest ones first, and how those of a part relabel."""
        adversary = self._adversary
        parts: list[tuple[tuple[int, ...], Relabel | None]] = [(cohort.honest, None)]
        if adversary is None or adversary.trains:
            relabel = None
            if isinstance(adversary, AgnosticAdversary):
                relabel = adversary.relabel(self.federation.num_classes)
            parts.append((cohort.byzantine, relabel))
        return parts

    def serve(self, index: int, cohort: Cohort, rows: Tensor) -> None:
        """Attack, defense and the server's step on trained ``rows``, honest first.

        Raises:
            Diverged: the aggregate or most of a round is not finite.
        """
        clients, adversary = cohort.honest + cohort.byzantine, self._adversary
        told = self._aggregator.assumed(len(cohort.byzantine))
        if adversary is None:
            order = sorted(range(len(clients)), key=lambda i: clients[i])
            rows, cohort = rows[order], Cohort(tuple(sorted(clients)), ())
        if self._momentum is not None:
            self._momentum.apply(clients[: len(rows)], rows)
        if isinstance(adversary, AgnosticAdversary):
            adversary.transform(rows[len(cohort.honest) :])
        trained = Trained(rows, None, range(len(cohort.honest)), rows.new_zeros(()))
        context = self._context(index, cohort, trained, self._train_root(index))
        updates, *_ = self._attack(context, cohort, rows, told)
        received = context.rows(torch.arange(len(updates)))
        order_of_arrival = self._arrival(index, len(updates))
        aggregate = self._aggregator.aggregate(updates, told, order_of_arrival, received)
        if aggregate.dropped is not None and 2 * len(aggregate.dropped) > len(updates):
            raise Diverged(f"round {index}: most updates were not finite or absurdly large")
        if not torch.isfinite(aggregate.vector).all():
            raise Diverged(f"round {index}: the aggregate is not finite")
        optimizer, vector = self.optimizers(), aggregate.vector
        self._server_step.step(optimizer, index, vector, aggregate, trained, len(updates))


class Stacks(Vmapped):
    """`Vmapped` for several models: client c of run r is row ``c * R + r`` of the stack."""

    def train_runs(
        self,
        clients: Sequence[int],
        round_index: int,
        starts: Tensor,
        rows: Tensor,
        relabel: Relabel | None,
    ) -> None:
        """Train the clients from each of R models; the batches are drawn once.

        Args:
            clients: ids, C of them.
            round_index: t.
            starts: ``(R, d)`` parameters of the models.
            rows: ``(R, C, d)``; ``rows[r, c]`` becomes ``w_r - w_rc`` (eq. 2).
            relabel: as in `Way.train`.
        """
        own = self.clients
        index = [own.federation.clients[client] for client in clients]
        steps = [num_steps(len(each), own.settings) for each in index]
        order = sorted(range(len(clients)), key=lambda i: -steps[i])
        plan = side_by_side(
            [index[i] for i in order],
            [stream(own.seed, round_index, clients[i]) for i in order],
            own.settings,
            own.federation.samples,
            relabel,
        )
        at_once = max(1, self.chunk // len(clients))
        for first in range(0, len(starts), at_once):
            these = starts[first : first + at_once]
            runs, count = len(these), len(clients)
            stack = self.parameters[: count * runs].view(count, runs, -1)
            stack.copy_(these)
            self.momentum.zero_()
            for step, active in enumerate(plan.active):
                inputs, _ = own.federation.samples.read(plan.index[:active, step].reshape(-1))
                inputs = inputs.unflatten(0, (active, -1)).repeat_interleave(runs, 0)
                targets = plan.targets[:active, step].repeat_interleave(runs, 0)
                shares = plan.shares[:active, step].repeat_interleave(runs, 0)
                self._step(inputs, targets, shares)
            rows[first : first + runs, order] = (these - stack).transpose(0, 1)


class SideBySide:
    """Several runs of one seed, task and number of rounds; they differ in attack and defense.

    Where the network does not train as a stack on this device, clients of one run train at a
    time, in the way that the run itself would choose.

    Args:
        configs: of the runs.
        population: data and clients that they share.
        on: name of the held-out set on which they are evaluated; the only one that is read.
        should_stop: called before each round; may raise to leave.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        population: Population,
        on: str,
        should_stop: Callable[[], None] = lambda: None,
    ) -> None:
        first = configs[0]
        self.device = resolve_device(first.runtime)
        self.config, self.should_stop = first, should_stop
        way: WayName = choose_local(first, self.device, population.dataset).way
        self.runs = [_module(config, population, way).to(self.device) for config in configs]
        for config, run in zip(configs, self.runs, strict=True):
            with refused("arena"):  # too many Byzantine clients for the defense, ...
                run.begin(build_roles(config))
        self.samples: Samples = population.held_out[on].to(self.device)
        self.num_classes = population.dataset.num_classes
        lead = self.runs[0]
        self.clients = Clients(lead.federation, lead.local, lead.seed)
        self.stacks: Stacks | None = None
        d = sum(p.numel() for p in lead.model.parameters())
        if way == "vmapped" and d == lead._width("parameters"):  # rows without frozen coordinates
            most = len(configs) * len(lead.federation)
            room = min(max(len(lead.federation), ROOM // d), most)
            model = build_model(first, population.dataset).to(self.device)
            self.stacks = Stacks(model, self.clients, room)

    def run(self, rounds: int) -> list[Course]:
        """All runs to their end; one that diverges is left out from there on."""
        courses = [Course([]) for _ in self.runs]
        for index in range(rounds):
            self.should_stop()
            alive = [i for i, course in enumerate(courses) if not course.reason]
            if not alive:
                break
            for i, rows in zip(alive, self._trained(index, alive), strict=True):
                run = self.runs[i]
                try:
                    run.serve(index, run.cohort(index), rows)
                except Diverged as reason:
                    courses[i].reason = str(reason)
                    continue
                score = evaluate(run.model, self.samples, self.num_classes)
                courses[i].curve.append(100 * float(score.accuracy))
        return courses

    def _trained(self, index: int, alive: Sequence[int]) -> list[Tensor]:
        """The rows of each run that is alive, ``(trained, d)``."""
        runs = [self.runs[i] for i in alive]
        cohort = runs[0].cohort(index)
        settings = runs[0].local.at(index)
        starts = torch.stack([run.start() for run in runs])
        count = len(cohort.honest) + len(cohort.byzantine)
        rows = starts.new_empty(len(runs), count, runs[0]._width("parameters"))
        parts = [run.parts(cohort) for run in runs]
        self._train(cohort.honest, index, starts, rows[:, : len(cohort.honest)], None, settings)
        groups: dict[Any, list[int]] = {}
        for place, own in enumerate(parts):
            if len(own) > 1 and own[1][0]:
                key = None if own[1][1] is None else place  # poisoned labels differ run by run
                groups.setdefault(key, []).append(place)
        for places in groups.values():
            clients, relabel = parts[places[0]][1]
            made = rows.new_empty(len(places), len(clients), rows.shape[2])
            self._train(clients, index, starts[places], made, relabel, settings)
            rows[places, len(cohort.honest) :] = made
        trained = [sum(len(clients) for clients, _ in own) for own in parts]
        return [mine[:own] for mine, own in zip(rows, trained, strict=True)]

    def _train(
        self,
        clients: tuple[int, ...],
        index: int,
        starts: Tensor,
        rows: Tensor,
        relabel: Relabel | None,
        settings: Any,
    ) -> None:
        if not clients:
            return
        if self.stacks is not None:
            self.stacks.clients = replace(self.clients, settings=settings)
            self.stacks.train_runs(clients, index, starts, rows, relabel)
            return
        way = self.runs[0]._way
        assert way is not None
        way.clients = replace(self.clients, settings=settings)
        for start, own in zip(starts, rows, strict=True):
            way.train(clients, index, (start, []), own, None, relabel)


def _module(config: Config, population: Population, way: WayName) -> ByHand:
    """The module of a run, driven by hand.

    Raises:
        ValueError: the network has buffers, whose running statistics only a whole run carries.
    """
    module = build_module(config, population, lambda: None, way, kind=ByHand)
    if any(True for _ in module.model.buffers()):
        raise ValueError(
            "Expected a network without buffers in the arena, got one with running statistics"
            " (batch normalisation); choose another model, or use fl-platform tune worst_case."
        )
    return module

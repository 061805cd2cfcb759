"""The federated algorithm as a Lightning module: one ``training_step`` is one round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from fl_platform.core import Updates, generator
from fl_platform.core.attack_schedule import ALWAYS, AttackSchedule
from fl_platform.core.context import Context
from fl_platform.core.deferred import Number, deferring, number, on_device
from fl_platform.core.precision import tensor_float32
from fl_platform.core.rng import stream_seed
from fl_platform.core.schedules import Schedule
from fl_platform.core.vector import flatten, state_tensors
from fl_platform.federated.callbacks.roles import (
    Adversary,
    AgnosticAdversary,
    find_roles,
    rule_name,
)
from fl_platform.federated.client_training import (
    Clients,
    LocalTraining,
    Loss,
    Way,
    WayName,
    build_way,
    for_trainable,
)
from fl_platform.federated.distributed import Alone, join
from fl_platform.federated.federation import Federation
from fl_platform.federated.global_model import GlobalModel
from fl_platform.federated.round import Round
from fl_platform.federated.sampling import Cohort, Sampling, byzantine_clients, sample_cohort
from fl_platform.federated.server_step import (
    ServerState,
    ServerStep,
    State,
    Trained,
    server_rates,
    step_schedulers,
)
from fl_platform.federated.worker_momentum import WorkerMomentum

# The arguments of a module that a checkpoint contains as they are.
PLAIN = (
    *("byzantine", "sampled", "sampling", "state", "seed", "way"),
    *("worker_momentum", "worker_dampening", "worker_clients"),
)


class Diverged(RuntimeError):  # noqa: N818 - an end of a run, named like its status
    """The run has diverged: its model or most updates of a round are not finite."""


class FederatedModule(GlobalModel):
    """Federated averaging with Byzantine clients and a pluggable defense.

    A round: draw the participants; train them from the global model, each update
    ``g_i = w - w_i`` (eq. 2) written into its row of one matrix; let the adversary replace the
    Byzantine rows; let the aggregator estimate the honest mean; step the server's optimizer with
    that estimate as its gradient, which for SGD at rate 1 is ``w <- w - g_hat`` (eq. 3).

    Args:
        model: the global model; parameters with ``requires_grad=False`` are frozen and no part of
            an update.
        federation: the clients' samples.
        local: how clients train, also as a mapping of its fields, as a checkpoint contains it.
        byzantine: the share of Byzantine clients, a real number from 0 to below 0.5, of which
            ceil(share × n) are drawn; or their number, at most half of the clients.
        sampled: participants per round; ``None`` for all.
        sampling: ``"random"`` or ``"fixed_share"``, see `sample_cohort`.
        state: ``"parameters"``: rules receive parameters only, running statistics are averaged with
            the rule's weights (uniform if it has none) and Byzantine clients report the server's
            own; ``"all"``: buffers are attacked and aggregated like parameters, as in
            the STRIKE authors' code, and stepped by plain subtraction.
        seed: seed of every stream of this run.
        server: function from parameters to the server's optimizer.
        server_schedule: factor of the server's rate in each round; ``None`` for 1.
        worker_momentum: beta of the momentum that each client keeps over rounds, see
            `WorkerMomentum`; 0 for none.
        worker_dampening: delta of it.
        worker_clients: who keeps it: ``"all"`` who train, or the ``"honest"``, so that Byzantine
            clients that train send this round's update.
        loss: of the clients, from outputs and targets to a scalar.
        way: name of the client trainer, see `fl_platform.federated.client_training.select`.
        should_stop: called between two clients; may raise to end a long round.
        root: the server's own samples as a federation of one client, for rules that require a
            ``reference``: in each round the server trains on them like a client.
    """

    def __init__(
        self,
        model: nn.Module,
        federation: Federation,
        local: LocalTraining | Mapping[str, Any] | None = None,
        *,
        byzantine: float | int = 0.0,
        sampled: int | None = None,
        sampling: Sampling = "random",
        state: State = "parameters",
        seed: int = 0,
        server: Callable[[Any], torch.optim.Optimizer] | None = None,
        server_schedule: Schedule | None = None,
        worker_momentum: float = 0.0,
        worker_dampening: float = 0.0,
        worker_clients: Literal["all", "honest"] = "all",
        loss: Loss = F.cross_entropy,
        way: WayName = "sequential",
        should_stop: Callable[[], None] = lambda: None,
        root: Federation | None = None,
    ) -> None:
        super().__init__(model, federation, local)
        whole = isinstance(byzantine, int)
        if not (0 <= 2 * byzantine <= len(federation) if whole else 0 <= byzantine < 0.5):
            raise ValueError(
                "Expected a Byzantine share from 0 to below 0.5, or a number of at most half of"
                f" {len(federation)} clients, got {byzantine}."
            )
        if sampled is not None and not 1 <= sampled <= len(federation):
            raise ValueError(f"Expected 1 <= sampled <= {len(federation)} clients, got {sampled}.")
        self.automatic_optimization = False
        self.seed = seed
        self.sampled = sampled
        self.sampling = sampling
        self.state = state
        self.byzantine = byzantine_clients(len(federation), byzantine, seed)
        self._server = server or (lambda parameters: torch.optim.SGD(parameters, lr=1.0))
        self._server_schedule = server_schedule
        self._worker = (worker_momentum, worker_dampening)
        self._worker_clients = worker_clients
        self._momentum: WorkerMomentum | None = None
        self._momentum_state: dict[str, Tensor] | None = None
        self._loss = loss
        self._should_stop = should_stop
        self._root = root
        self._root_way: Way | None = None
        self._way_name: WayName = way
        self._way: Way | None = None
        self._rows: Tensor | None = None
        self._received: Tensor | None = None
        self._ranks = Alone()
        own_loss = None if loss is F.cross_entropy else loss
        given = {"server": server, "server_schedule": server_schedule, "loss": own_loss}
        self.keep_hyperparameters(PLAIN, given | {"root": root})

    logs = (
        *("round/loss", "round/attack_strength", "round/local_lr", "round/server_lr", "time/*"),
        *("validation/accuracy", "validation/loss"),  # by Lightning's own loop
    )

    @property
    def population(self) -> tuple[int, int] | None:
        """(n, f) with full participation, where all rounds have the same; else ``None``."""
        if self.sampled is not None and self.sampled < len(self.federation):
            return None
        return len(self.federation), len(self.byzantine)

    @property
    def offered(self) -> frozenset[str]:
        """The fields of `Context` that a round of this module provides."""
        known = {"clients", "round", "sizes", "losses", "model", "layers"}
        return frozenset(known if self._root is None else known | {"reference"})

    @property
    def _schedule(self) -> AttackSchedule:
        return ALWAYS if self._adversary is None else self._adversary.schedule

    def _members(self, index: int) -> tuple[int, ...]:
        """The clients that are Byzantine in round ``index``, whether they attack in it or not."""
        draw = self._schedule.draw(index)
        if draw == 0:
            return self.byzantine
        return byzantine_clients(len(self.federation), len(self.byzantine), self.seed, draw)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The server's optimizer; SGD at rate 1 is federated averaging.

        A subclass may return a scheduler beside it, in any form of Lightning's: it is stepped once
        a round, after the server's step.
        """
        return self._server(self.model.parameters())

    def train_dataloader(self) -> DataLoader[Any]:
        """One item per epoch: an epoch is a round, its number is ``global_step``."""
        return DataLoader([0], batch_size=1)  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        """For training: find the roles and this process's part; refuse incompatible settings."""
        if stage != "fit":
            return
        if not self._width("parameters"):
            raise ValueError(
                "Expected a network with a trainable parameter, got requires_grad=False for all."
            )
        self._aggregator, self._adversary = find_roles(self.trainer)
        if self._adversary is not None and not self.byzantine:
            raise ValueError(
                f"Expected a Byzantine client for {rule_name(self._adversary.rule)}, got"
                " byzantine=0; give FederatedModule a share, or leave the adversary out."
            )
        rests = self._schedule.rests or self._schedule.switch
        if self.federation.idle and (self._adversary is None or self._adversary.trains or rests):
            raise ValueError(
                "Expected an adversary whose clients do not train in any round, because"
                f" {len(self.federation.idle)} clients hold no data."
            )
        rules = [self._aggregator.chain.rule, *self._aggregator.chain.mixings]
        if isinstance(self._adversary, Adversary):
            rules.append(self._adversary.rule)
        self._ranks = join(self.trainer, rules, self._width())
        if self._worker[0] and self._ranks.size > 1:
            raise ValueError(
                "Expected worker momentum 0 for several processes, got"
                f" {self._worker[0]}: each client's momentum is in one process only."
            )

    def on_fit_start(self) -> None:
        """Move the samples to the device and allocate the matrices of rows once."""
        self.federation = self.federation.to(self.device)
        self._clients = Clients(
            self.federation, self.local, self.seed, self._loss, self._should_stop
        )
        way = build_way(self._way_name, self.model, self._clients)
        self._way = for_trainable(way, self.model)
        if self._root is not None and "reference" in self._aggregator.chain.asked:
            own = Clients(
                self._root.to(self.device), self.local, stream_seed(self.seed, "root"), self._loss
            )
            way = build_way("sequential", self.model, own)
            self._root_way = for_trainable(way, self.model)
        rates = server_rates(self.trainer, self._server_schedule)
        self._server_step = ServerStep(
            self.model, self.state, self._server_schedule, rates, self._ranks
        )
        most, width, ranks = self.sampled or len(self.federation), self._width(), self._ranks
        dtype = next(self.model.parameters()).dtype
        self._rows = torch.empty(-(-most // ranks.size), width, device=self.device, dtype=dtype)
        if ranks.size > 1:
            self._received = torch.empty(most, ranks.width(width), device=self.device, dtype=dtype)
        if self._worker[0]:
            self._lay_out_momentum()

    def _lay_out_momentum(self) -> None:
        """A row of momentum per client that trains, in the order of a round with all clients."""
        assert self._rows is not None
        like = self._rows[:, : self._width("parameters")]
        everybody = range(len(self.federation))
        if self._adversary is None or self._schedule.rests or self._schedule.switch:
            order = list(everybody)
        else:
            order = [i for i in everybody if i not in self.byzantine]
            keep = self._adversary.trains and self._worker_clients == "all"
            order += self.byzantine if keep else ()
        self._momentum = WorkerMomentum(order, like, *self._worker)
        if self._momentum_state is not None:
            self._momentum.load_state_dict(self._momentum_state)
            self._momentum_state = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the momentum of the clients, if they have any."""
        super().on_save_checkpoint(checkpoint)
        if self._momentum is not None:
            checkpoint["worker_momentum"] = self._momentum.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the momentum of the clients for `on_fit_start`."""
        super().on_load_checkpoint(checkpoint)
        self._momentum_state = checkpoint.get("worker_momentum")

    def _width(self, state: State | None = None) -> int:
        """d, the number of coordinates of an update."""
        return sum(t.numel() for t in state_tensors(self.model, state or self.state))

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One communication round; reduced precision is for the clients' training only."""
        if not isinstance(batch, Tensor) or batch.numel() != 1:
            raise ValueError(
                "Expected trainer.fit(module) without training batches: a step is a round, in which"
                " the clients read their samples from the federation."
            )
        clock = _Clock()
        index = self.global_step
        members = self._members(index)
        cohort = sample_cohort(
            index, len(self.federation), members, self.sampled, self.sampling, self.seed
        )
        told = self._aggregator.assumed(len(cohort.byzantine))
        if self._adversary is None or not self._schedule.strength(index):
            cohort = Cohort(tuple(sorted(cohort.honest + cohort.byzantine)), ())
        kind = self.device.type
        # Weights change in place between steps: autocast's cache would keep those of the first
        # step.
        with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False):
            trained = self._train(index, cohort)
            reference = self._train_root(index)
        clock.lap("local")
        # Otherwise the products of attacks, defenses and metrics would be rounded too.
        with torch.autocast(kind, enabled=False), tensor_float32(False):
            context = self._context(index, cohort, trained, reference)
            done, values = self._settled(context, cohort, trained, told, clock)
            loss = {"round/loss": values["loss"]} if cohort.honest else {}
            metrics = loss | self._rates(index) | self._observed(done, values)
            step_schedulers(self.trainer)  # observers read the rate of this round
            clock.lap("observers")
        self._report(done, metrics | clock.seconds)

    def _settled(
        self, context: Context, cohort: Cohort, trained: Trained, told: int, clock: _Clock
    ) -> tuple[Round, dict[str, Any]]:
        """The server's side of a round and all that was measured, which a GPU tells at once.

        What the round assumed on the way (no row is to be dropped, ...) is checked with the same
        copy. Where it was wrong, the round is taken back and computed again with every check.
        """
        if not on_device(self.device) or self._ranks.size > 1:
            done, numbers = self._served(context, cohort, trained, told, clock)
            return done, numbers
        before = ServerState(
            self.model,
            cast(Any, self.optimizers(use_pl_optimizer=False)),
            [self._aggregator, self._adversary],
        )
        with deferring() as deferral:
            done, numbers = self._served(context, cohort, trained, told, clock)
        held, values = deferral.settle(numbers)
        if not held:
            before.restore()
            done, numbers = self._served(context, cohort, trained, told, clock, again=True)
            held, values = deferral.settle(numbers)
        self._refuse_divergence(done, bool(values["finite"]))
        return done, values

    def _served(
        self,
        context: Context,
        cohort: Cohort,
        trained: Trained,
        told: int,
        clock: _Clock,
        *,
        again: bool = False,
    ) -> tuple[Round, dict[str, Any]]:
        """Attack, defense, the server's step, and the measurements of the observers."""
        assert context.round is not None
        index = context.round
        updates, honest, byzantine, known = self._attack(context, cohort, trained.rows, told)
        clock.lap("attack")
        aggregate = self._aggregator.aggregate(
            updates, told, self._arrival(index, len(updates)), _received(context, len(updates))
        )
        clock.lap("defense")
        vector = self._ranks.whole(aggregate.vector)
        # Lightning counts the steps of its own optimizer: one that was taken back counts already.
        optimizer = self.optimizers(use_pl_optimizer=not again)
        self._server_step.step(optimizer, index, vector, aggregate, trained, len(updates))
        clock.lap("server")
        done = Round(index, cohort, updates, honest, byzantine, told, aggregate, known)
        finite = number(torch.isfinite(vector).all())
        if not isinstance(finite, Tensor):
            self._refuse_divergence(done, bool(finite))
        numbers: dict[str, Any] = {"finite": finite, "loss": number(trained.loss)}
        for place, callback in enumerate(self.trainer.callbacks):  # type: ignore[attr-defined]
            measure = getattr(callback, "measure", None)
            if measure is not None:
                asked: dict[str, Number] = measure(self.trainer, self, done)
                numbers |= {f"{place}/{name}": value for name, value in asked.items()}
        return done, numbers

    def _train(self, index: int, cohort: Cohort) -> Trained:
        """Train the clients of this round."""
        assert self._way is not None
        assert self._rows is not None
        self._way.clients = replace(self._clients, settings=self.local.at(index))
        adversary = self._adversary
        clients = cohort.honest
        if adversary is not None and adversary.trains:
            clients += cohort.byzantine
        parameters = torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])
        start = (parameters, list(self.model.buffers()))
        count, h, d = len(clients), len(cohort.honest), self._width("parameters")
        share = self._ranks.share(count)
        honest = range(min(share.start, h), min(share.stop, h))
        clients, own = clients[share], len(honest)
        rows, buffer_rows = self._rows[: len(clients)], None
        if self.state == "all":
            buffer_rows = rows[:, d:]
        elif start[1]:
            size = sum(b.numel() for b in start[1])
            buffer_rows = torch.zeros(len(clients), size, dtype=torch.float64, device=self.device)
        relabel = (
            adversary.relabel(self.federation.num_classes)
            if isinstance(adversary, AgnosticAdversary)
            else None
        )
        parts = [(slice(0, own), None), (slice(own, len(clients)), relabel)]
        losses = [
            self._way.train(
                clients[part],
                index,
                start,
                rows[part, :d],
                None if buffer_rows is None else buffer_rows[part],
                change,
            )
            for part, change in parts
        ]
        if self._momentum is not None:
            keep = own if self._worker_clients == "honest" else len(clients)
            self._momentum.apply(clients[:keep], rows[:keep, :d])
        if isinstance(adversary, AgnosticAdversary):
            adversary.transform(rows[own:], adversary.schedule.strength(index))
        loss = self._ranks.sum(losses[0].sum()) / h
        everyone = None
        if "losses" in self._aggregator.chain.asked:
            everyone = loss.new_zeros(count)
            everyone[share] = torch.cat(losses).to(loss)
            everyone = self._ranks.sum(everyone)
        received = rows if self._received is None else self._received[:count]
        return Trained(self._ranks.exchange(rows, received), buffer_rows, honest, loss, everyone)

    def _attack(
        self, context: Context, cohort: Cohort, rows: Tensor, told: int
    ) -> tuple[Updates, Updates | None, Tensor, int | None]:
        """All received rows, honest first; the honest, if any; the Byzantine; `Round.known`."""
        assert context.round is not None
        index = context.round
        adversary, h, f = self._adversary, len(cohort.honest), len(cohort.byzantine)
        if h == 0:
            sent = rows if len(rows) else rows.new_zeros(f, rows.shape[1])
            return self._ranks.updates(sent), None, sent, None
        if adversary is None or f == 0:
            updates = self._ranks.updates(rows)
            return updates, updates, rows[h:], None
        if isinstance(adversary, AgnosticAdversary):
            updates = self._ranks.updates(rows)
            return updates, updates.select(slice(0, h)), rows[h:], None
        honest = self._ranks.updates(rows[:h])
        own = self._ranks.updates(rows[h:]) if adversary.trains else None
        reference = adversary.reference(honest, own, self.seed, index)
        query = self._aggregator.query_oracle(honest, told, self._arrival(index, h + f), context)
        strength = adversary.schedule.strength(index)
        sent = adversary.attack(reference, f, query, context, strength)
        known = len(reference) if isinstance(adversary.knowledge, int) else None
        return (honest.extended(sent) if len(sent) else honest), honest, sent, known

    def _arrival(self, index: int, size: int) -> Tensor:
        """The order in which the rows of round ``index`` arrive at the server."""
        return torch.randperm(size, generator=generator(self.seed, "arrival", index))

    def _train_root(self, index: int) -> Tensor | None:
        """``(d,)`` update on the server's own samples, this process's part of it."""
        if self._root_way is None:
            return None
        self._root_way.clients = replace(self._root_way.clients, settings=self.local.at(index))
        parameters = torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])
        buffers, d = list(self.model.buffers()), self._width("parameters")
        rows = torch.empty(1, self._width(), device=self.device, dtype=parameters.dtype)
        beside = rows[:, d:]
        if self.state != "all":
            size = sum(b.numel() for b in buffers)
            beside = torch.zeros(1, size, dtype=torch.float64, device=self.device)
        room = beside if buffers else None
        self._root_way.train((0,), index, (parameters, buffers), rows[:, :d], room, None)
        return rows[0, self._ranks.share(rows.shape[1])]

    def _context(
        self, index: int, cohort: Cohort, trained: Trained, reference: Tensor | None
    ) -> Context:
        """What the server knows of the round, rows in the order honest, Byzantine.

        The model is laid out as a vector, and losses are collected, only where a rule asks.
        """
        clients = cohort.honest + cohort.byzantine
        asked = self._aggregator.chain.asked | getattr(self._adversary, "asked", frozenset())
        tensors = state_tensors(self.model, self.state)
        model = None
        if "model" in asked:
            whole = flatten(tensors)
            model = whole[self._ranks.share(len(whole))]
        return Context(
            clients=torch.tensor(clients),
            round=index,
            sizes=torch.tensor([self.federation.sizes[i] for i in clients]),
            losses=self._reported(cohort, trained.losses),
            reference=reference,
            model=model,
            layers=tuple(tensor.numel() for tensor in tensors),
        )

    def _reported(self, cohort: Cohort, losses: Tensor | None) -> Tensor | None:
        """``(m,)`` losses of the trained clients, and those that the others report."""
        adversary, f = self._adversary, len(cohort.byzantine)
        if losses is None or not isinstance(adversary, Adversary) or adversary.trains or f == 0:
            return losses
        return torch.cat([losses, adversary.losses(losses, f)])

    def _rates(self, index: int) -> dict[str, float]:
        """The scheduled rates and attack of round ``index``; empty without a schedule."""
        rates = {}
        if self._schedule != ALWAYS:
            rates["round/attack_strength"] = self._schedule.strength(index)
        if self.local.schedule is not None:
            rates["round/local_lr"] = self.local.at(index).lr
        return rates | self._server_step.rate(index)

    def _refuse_divergence(self, done: Round, finite: bool) -> None:
        """Raise `Diverged` once the model or most of a round is not finite."""
        dropped = 0 if done.aggregate.dropped is None else len(done.aggregate.dropped)
        if dropped * 2 > len(done.updates):
            raise Diverged(
                f"round {done.index}: {dropped} of {len(done.updates)} updates were not finite"
                " or absurdly large"
            )
        if not finite:
            raise Diverged(f"round {done.index}: the aggregate is not finite")

    def _observed(self, done: Round, values: dict[str, Any]) -> dict[str, float]:
        """What the observers have to say, evaluation among them.

        All are asked in every process before one that sees divergence ends the run in each.
        """
        metrics: dict[str, float] = {}
        reasons: list[Diverged] = []
        for place, callback in enumerate(self.trainer.callbacks):  # type: ignore[attr-defined]
            try:
                if hasattr(callback, "measure"):
                    start = f"{place}/"
                    own = {k[len(start) :]: v for k, v in values.items() if k.startswith(start)}
                    metrics |= callback.finish(done, own)
                elif hasattr(callback, "on_round_end"):
                    metrics |= callback.on_round_end(self.trainer, self, done) or {}
            except Diverged as reason:
                reasons.append(reason)
        if self._ranks.any(bool(reasons)):
            raise reasons[0] if reasons else Diverged(f"round {done.index}: reported by process 0")
        return metrics

    def _report(self, done: Round, metrics: dict[str, float]) -> None:
        """Hand all numbers to the loggers, and to callbacks that monitor them, once a round.

        ``self.log`` takes a tenth of a millisecond per number, which would be a third of a small
        round. All numbers of a round are one tensor here.
        """
        if self._ranks.size > 1:  # only process 0 evaluates, but each has to stop at the same round
            metrics = self.trainer.strategy.broadcast(metrics)
        values = torch.tensor(list(metrics.values()), dtype=torch.float64).unbind()
        self.trainer.callback_metrics.update(zip(metrics, values, strict=True))
        for logger in self.trainer.loggers if self._ranks.rank == 0 else ():
            logger.log_metrics(metrics, step=done.index + 1)


class _Clock:
    """Seconds of each phase of a round, as ``time/<phase>``.

    A GPU is not waited for, so there a phase also pays for what earlier ones had it begin.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[f"time/{phase}"] = now - self._last
        self._last = now


def _received(context: Context, count: int) -> Context:
    """The context of the first ``count`` rows: a client that sends nothing has no row."""
    return context.rows(torch.arange(count))

"""The federated algorithm as a Lightning module: one ``training_step`` is one round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.context import Context
from fl_platform.core.precision import tensor_float32
from fl_platform.core.rng import stream_seed
from fl_platform.core.vector import flatten, state_tensors
from fl_platform.federated.distributed import Alone, join
from fl_platform.federated.federation import Federation
from fl_platform.federated.local import Clients, LocalTraining, Loss, Way, WayName, build_way
from fl_platform.federated.roles import Adversary, AgnosticAdversary, find_roles, rule_name
from fl_platform.federated.round import Round
from fl_platform.federated.sampling import Cohort, Sampling, byzantine_clients, sample_cohort

State = Literal["parameters", "all"]


class Diverged(RuntimeError):  # noqa: N818 - a way to end, named like its status
    """The run has left the numbers: its model or most of a round is not finite."""


class FederatedModule(LightningModule):
    """Federated averaging with Byzantine clients and a pluggable defense.

    A round: draw the participants; train them from the global model, each update
    ``g_i = w - w_i`` (eq. 2) written into its row of one matrix; let the adversary replace the
    Byzantine rows; let the aggregator estimate the honest mean; step the server's optimizer with
    that estimate as its gradient, which for SGD at rate 1 is ``w <- w - g_hat`` (eq. 3).

    Args:
        model: the global model.
        federation: the clients' samples.
        local: how clients train.
        byzantine: the share of Byzantine clients, from 0 below 0.5; ceil(share × n) of them.
        sampled: participants a round; ``None`` for all.
        sampling: ``"random"`` or ``"fixed_share"``, see `sample_cohort`.
        state: ``"parameters"``: rules see parameters only, running statistics are averaged with
            the rule's weights (uniform where it has none) and Byzantine clients report the
            server's own; ``"all"``: buffers are attacked and aggregated like parameters, as in
            the STRIKE authors' code, and stepped by plain subtraction.
        seed: of every stream of this run.
        server: makes the server's optimizer from its parameters.
        loss: of the clients, from outputs and targets to a scalar.
        way: how clients are trained, see `fl_platform.federated.local.choose`.
        should_stop: asked between clients; may raise to leave a long round.
        root: samples of the server's own as a federation of one client, for rules that ask for a
            ``reference``: each round the server trains on them like a client.
    """

    def __init__(
        self,
        model: nn.Module,
        federation: Federation,
        local: LocalTraining | None = None,
        *,
        byzantine: float = 0.0,
        sampled: int | None = None,
        sampling: Sampling = "random",
        state: State = "parameters",
        seed: int = 0,
        server: Callable[[Any], torch.optim.Optimizer] | None = None,
        loss: Loss = F.cross_entropy,
        way: WayName = "sequential",
        should_stop: Callable[[], None] = lambda: None,
        root: Federation | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= byzantine < 0.5:
            raise ValueError(f"Expected a Byzantine share from 0 below 0.5, got {byzantine}.")
        if sampled is not None and not 1 <= sampled <= len(federation):
            raise ValueError(f"Expected 1 <= sampled <= {len(federation)} clients, got {sampled}.")
        self.automatic_optimization = False
        self.model = model
        self.federation = federation
        self.local = local or LocalTraining()
        self.seed = seed
        self.sampled = sampled
        self.sampling = sampling
        self.state = state
        self.byzantine = byzantine_clients(len(federation), byzantine, seed)
        self._server = server or (lambda parameters: torch.optim.SGD(parameters, lr=1.0))
        self._loss = loss
        self._should_stop = should_stop
        self._root = root
        self._root_way: Way | None = None
        self._way_name: WayName = way
        self._way: Way | None = None
        self._rows: Tensor | None = None
        self._received: Tensor | None = None
        self._ranks = Alone()

    @property
    def population(self) -> tuple[int, int] | None:
        """(n, f) where every round has the same, under full participation; else ``None``."""
        if self.sampled is not None and self.sampled < len(self.federation):
            return None
        return len(self.federation), len(self.byzantine)

    @property
    def offered(self) -> frozenset[str]:
        """The fields of `Context` that a round of this module fills."""
        known = {"clients", "round", "sizes", "model", "layers"}
        return frozenset(known if self._root is None else known | {"reference"})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The server's optimizer; SGD at rate 1 is federated averaging."""
        return self._server(self.model.parameters())

    def train_dataloader(self) -> DataLoader[Any]:
        """One item an epoch: an epoch is a round, its number is ``global_step``."""
        return DataLoader([0], batch_size=1)  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        """Find the roles and this process's place; refuse what does not fit together."""
        self._aggregator, self._adversary = find_roles(self.trainer)
        if self._adversary is not None and not self.byzantine:
            raise ValueError(
                f"Expected a Byzantine client for {rule_name(self._adversary.rule)} to play, got"
                " byzantine=0; give FederatedModule a share, or leave the adversary out."
            )
        rules = [self._aggregator.chain.rule, *self._aggregator.chain.mixings]
        if isinstance(self._adversary, Adversary):
            rules.append(self._adversary.rule)
        self._ranks = join(self.trainer, rules, self._width())

    def on_fit_start(self) -> None:
        """Bring the samples to the device and lay out the matrix of updates once."""
        self.federation = self.federation.to(self.device)
        clients = Clients(self.federation, self.local, self.seed, self._loss, self._should_stop)
        self._way = build_way(self._way_name, self.model, clients)
        if self._root is not None and "reference" in self._aggregator.chain.asked:
            own = Clients(
                self._root.to(self.device), self.local, stream_seed(self.seed, "root"), self._loss
            )
            self._root_way = build_way("sequential", self.model, own)
        most, width, ranks = self.sampled or len(self.federation), self._width(), self._ranks
        dtype = next(self.model.parameters()).dtype
        self._rows = torch.empty(-(-most // ranks.size), width, device=self.device, dtype=dtype)
        if ranks.size > 1:
            self._received = torch.empty(most, ranks.width(width), device=self.device, dtype=dtype)

    def _width(self) -> int:
        """d, the number of coordinates that rules see."""
        return sum(t.numel() for t in state_tensors(self.model, self.state))

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One communication round; reduced precision is for the clients' training alone."""
        clock = _Clock()
        index = self.global_step
        cohort = sample_cohort(
            index, len(self.federation), self.byzantine, self.sampled, self.sampling, self.seed
        )
        told = self._aggregator.told(len(cohort.byzantine))
        if self._adversary is None:
            cohort = Cohort(tuple(sorted(cohort.honest + cohort.byzantine)), ())
        kind = self.device.type
        # Weights move in place between steps: autocast's cache would keep the first step's.
        with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False):
            trained = self._train(index, cohort)
            reference = self._train_root(index)
        clock.lap("local")
        # Else the products of attacks, defenses and metrics would be rounded too.
        with torch.autocast(kind, enabled=False), tensor_float32(False):
            context = self._context(index, cohort, reference)
            updates, honest, byzantine, known = self._attack(context, cohort, trained.rows, told)
            clock.lap("attack")
            aggregate = self._aggregator.aggregate(
                updates, told, self._arrival(index, len(updates)), _received(context, len(updates))
            )
            clock.lap("defense")
            vector = self._ranks.whole(aggregate.vector)
            self._step(vector, aggregate, trained, len(updates))
            clock.lap("server")
            done = Round(index, cohort, updates, honest, byzantine, told, aggregate, known)
            self._refuse_divergence(done, vector)
            loss = {"round/loss": float(trained.loss)} if cohort.honest else {}
            metrics = loss | self._observed(done)
            clock.lap("observers")
        self._report(done, metrics | clock.seconds)

    def _train(self, index: int, cohort: Cohort) -> _Trained:
        """Train who trains this round."""
        assert self._way is not None
        assert self._rows is not None
        adversary = self._adversary
        clients = cohort.honest
        if adversary is not None and adversary.trains:
            clients += cohort.byzantine
        parameters = torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])
        start = (parameters, list(self.model.buffers()))
        count, h, d = len(clients), len(cohort.honest), len(parameters)
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
        if isinstance(adversary, AgnosticAdversary):
            adversary.transform(rows[own:])
        loss = self._ranks.sum(losses[0].sum()) / h
        received = rows if self._received is None else self._received[:count]
        return _Trained(self._ranks.exchange(rows, received), buffer_rows, honest, loss)

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
        query = self._aggregator.rehearsal(honest, told, self._arrival(index, h + f), context)
        sent = adversary.attack(reference, f, query, context)
        known = len(reference) if isinstance(adversary.knowledge, int) else None
        return (honest.extended(sent) if len(sent) else honest), honest, sent, known

    def _arrival(self, index: int, size: int) -> Tensor:
        """The order in which the rows of round ``index`` reach the server."""
        return torch.randperm(size, generator=generator(self.seed, "arrival", index))

    def _train_root(self, index: int) -> Tensor | None:
        """``(d,)`` the update of the server's own samples, this process's part of it."""
        if self._root_way is None:
            return None
        parameters = torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])
        buffers, d = list(self.model.buffers()), len(parameters)
        rows = torch.empty(1, self._width(), device=self.device, dtype=parameters.dtype)
        beside = rows[:, d:]
        if self.state != "all":
            size = sum(b.numel() for b in buffers)
            beside = torch.zeros(1, size, dtype=torch.float64, device=self.device)
        room = beside if buffers else None
        self._root_way.train((0,), index, (parameters, buffers), rows[:, :d], room, None)
        return rows[0, self._ranks.share(rows.shape[1])]

    def _context(self, index: int, cohort: Cohort, reference: Tensor | None) -> Context:
        """What the server knows of the round, rows in the order honest, Byzantine.

        The model is laid out as a vector only where a rule asks for it.
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
            sizes=torch.tensor([len(self.federation.clients[i]) for i in clients]),
            reference=reference,
            model=model,
            layers=tuple(tensor.numel() for tensor in tensors),
        )

    def _step(self, vector: Tensor, aggregate: Aggregate, trained: _Trained, received: int) -> None:
        """The server's step; running statistics follow as ``state`` says."""
        start = 0
        for parameter in self.model.parameters():
            stop = start + parameter.numel()
            parameter.grad = vector[start:stop].view_as(parameter).clone()
            start = stop
        self.optimizers().step()  # type: ignore[union-attr]
        buffers = list(self.model.buffers())
        if not buffers:
            return
        if self.state == "all":
            change = vector[start:].double()
        else:
            changes, own = trained.buffer_rows, trained.honest
            assert changes is not None
            # A Byzantine client reports the server's own statistics: a change of zero.
            weights = aggregate.weights
            if weights is None:
                weights = torch.ones(received, dtype=torch.float64)
                if aggregate.dropped is not None:
                    weights[aggregate.dropped.cpu()] = 0.0
                weights /= weights.sum().clamp(min=1.0)
            honest = weights[own.start : own.stop].to(changes)
            # Rows of weight zero are not read: a dropped row is NaN, and 0 * NaN is NaN.
            used = honest.nonzero().flatten()
            change = self._ranks.sum(honest[used] @ changes[used])
        offset = 0
        for buffer in buffers:
            delta = change[offset : offset + buffer.numel()].view_as(buffer)
            offset += buffer.numel()
            if buffer.is_floating_point():
                buffer.sub_(delta.to(buffer.dtype))
            elif self.state == "all":
                buffer.copy_((buffer.double() - delta).round())

    def _refuse_divergence(self, done: Round, vector: Tensor) -> None:
        """Raise `Diverged` once the model or most of a round is not finite."""
        dropped = 0 if done.aggregate.dropped is None else len(done.aggregate.dropped)
        if dropped * 2 > len(done.updates):
            raise Diverged(
                f"round {done.index}: {dropped} of {len(done.updates)} updates were not finite"
                " or absurdly large"
            )
        if not bool(torch.isfinite(vector).all()):
            raise Diverged(f"round {done.index}: the aggregate is not finite")

    def _observed(self, done: Round) -> dict[str, float]:
        """What the observers have to say, evaluation among them.

        All are asked in every process before one that sees divergence ends the run in each.
        """
        metrics: dict[str, float] = {}
        reasons: list[Diverged] = []
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            observe = getattr(callback, "on_round_end", None)
            if observe is not None:
                try:
                    metrics |= observe(self.trainer, self, done) or {}
                except Diverged as reason:
                    reasons.append(reason)
        if self._ranks.any(bool(reasons)):
            raise reasons[0] if reasons else Diverged(f"round {done.index}: told by process 0")
        return metrics

    def _report(self, done: Round, metrics: dict[str, float]) -> None:
        """Hand all numbers to the loggers, and scores to callbacks that monitor them.

        Lightning takes a tenth of a millisecond a number to make it monitorable, which for all
        numbers would be a third of a small round.
        """
        scores = {k: v for k, v in metrics.items() if k.startswith(("test/", "validation/"))}
        self.log_dict(scores, logger=False)
        for logger in self.trainer.loggers if self._ranks.rank == 0 else ():
            logger.log_metrics(metrics, step=done.index + 1)


@dataclass(frozen=True)
class _Trained:
    """What training left in this process.

    Attributes:
        rows: ``(trained, d_r)`` its coordinates (all, where it is alone) of all who trained.
        buffer_rows: changes of the buffers by the clients that trained here, honest first.
        honest: which of the honest rows trained here.
        loss: mean of all honest clients; NaN where none took part.
    """

    rows: Tensor
    buffer_rows: Tensor | None
    honest: range
    loss: Tensor


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

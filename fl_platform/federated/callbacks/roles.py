"""The roles of a round as Lightning callbacks: the aggregator and the adversary.

A role holds a rule and its options, checks the population once in ``setup``, and is called by the
module. All mathematics is in the rule.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.attack_schedule import ALWAYS, AttackSchedule
from fl_platform.core.context import FIELDS, Context, asks
from fl_platform.core.deferred import sent
from fl_platform.core.rule import first_parameters, is_agnostic, unwrapped
from fl_platform.core.rule_state import refuse_lost_memory
from fl_platform.defenses.chain import Chain, ExcessByzantine, OnExcessF

Knowledge = Literal["all", "own"] | int


def rule_name(rule: Any) -> str:
    """The name of a rule: a function, a partial of one, or an instance."""
    rule = getattr(rule, "func", rule)
    return getattr(rule, "__name__", type(rule).__name__)


class RefusedByRule(ValueError):  # noqa: N818 - named after what it holds
    """The refusal of a rule in a round, such as settings that do not fit n and f.

    Attributes:
        group: ``attack`` or ``defense``.
    """

    def __init__(self, group: str, message: str) -> None:
        self.group = group
        super().__init__(message)


@contextmanager
def refusals(group: str) -> Iterator[None]:
    """Raise a rule's ``ValueError`` of the form ``Expected ..., got ...`` as `RefusedByRule`.

    Any other one, such as that of a fault in a rule of one's own, stays what it is.
    """
    try:
        yield
    except (RefusedByRule, ExcessByzantine):
        raise
    except ValueError as error:
        if not str(error).startswith("Expected "):
            raise
        raise RefusedByRule(group, str(error)) from error


class Aggregator(Callback):
    """The server's defense.

    Args:
        rule: ``rule(updates, num_byzantine) -> Aggregate``, one of `fl_platform.defenses`.
        mixings: mixings before the rule, applied in this order.
        on_excess_f: action in a round with more Byzantine clients than the rule tolerates:
            ``"clamp"`` f to the largest tolerated value, ``"keep_model"`` or ``"error"``.
        assumed_f: the f that the defense assumes; ``None`` for the true count of each round.
        gate: input check: drop non-finite and absurdly large rows before any rule.
    """

    def __init__(
        self,
        rule: Callable[..., Aggregate],
        mixings: Sequence[Callable[..., Tensor]] = (),
        *,
        on_excess_f: OnExcessF = "clamp",
        assumed_f: int | None = None,
        gate: bool = True,
    ) -> None:
        first = first_parameters(rule)[:1]
        if first != ["updates"]:
            raise TypeError(
                "Expected a defense, whose first parameter is 'updates', got"
                f" {rule_name(rule)} with {first or 'no positional parameter'}."
            )
        self.chain = Chain(rule, mixings, gate=gate, on_excess_f=on_excess_f)
        self.assumed_f = assumed_f

    @property
    def state_key(self) -> str:
        """A key with the rule's name, so that `setup` can explain a second aggregator."""
        return f"Aggregator.{rule_name(self.chain.rule)}"

    def assumed(self, num_byzantine: int) -> int:
        """The f that the defense assumes if ``num_byzantine`` clients are Byzantine."""
        return num_byzantine if self.assumed_f is None else self.assumed_f

    def aggregate(
        self,
        updates: Updates,
        num_byzantine: int,
        order: Tensor,
        context: Context | None = None,
    ) -> Aggregate:
        """Aggregate the rows in the order of arrival; weights are in the order of ``updates``.

        Args:
            updates: ``(m, d)`` received rows.
            num_byzantine: the assumed f, at most m.
            order: ``(m,)`` permutation; the rule receives ``updates[order]``, so that ties do not
                depend on the position of honest rows.
            context: further data of the round, in the order of ``updates``.
        """
        told = min(num_byzantine, len(updates))
        known = (context or Context()).rows(order)
        with refusals("defense"):
            arrived = self.chain(updates.select(order), told, context=known)
        weights, dropped = arrived.weights, arrived.dropped
        if weights is not None:
            weights = torch.empty_like(weights).index_copy_(0, sent(order, weights.device), weights)
        if dropped is not None:
            dropped = order.to(dropped.device)[dropped].sort().values
        return Aggregate(
            arrived.vector, weights, arrived.anchor_weight, dropped, clamped=arrived.clamped
        )

    def query_oracle(
        self, honest: Updates, num_byzantine: int, order: Tensor, context: Context
    ) -> Callable[[Tensor], Tensor]:
        """A query for attacks: Byzantine rows to the aggregate of a copy, restored after each call.

        The copy has the defense's memory but draws from a stream of its own: an attack does not
        learn which coordinates or buckets the server draws. All queries of a round use the same
        draws, so that their results can be compared.
        """

        def query(rows: Tensor) -> Tensor:
            twin = copy.deepcopy(self)
            twin.chain.reseed("rehearsal")
            return twin.aggregate(honest.extended(rows), num_byzantine, order, context).vector

        return query

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a second aggregator, a rule whose memory is not saved, and missing context."""
        check_roles(trainer)
        self.chain.refuse_parts(getattr(pl_module, "offered", FIELDS))
        population = getattr(pl_module, "population", None)
        if population is None:  # sampled participants: on_excess_f is applied in each round
            return
        self.refuse_excess(*population)

    def refuse_excess(self, n: int, f: int) -> None:
        """Raise ``ValueError`` if f of n clients is more than the rule tolerates."""
        self.chain.refuse_excess(n, self.assumed(f))

    def state_dict(self) -> dict[str, Any]:
        """The memory of the rules."""
        return self.chain.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the memory of the rules."""
        self.chain.load_state_dict(state_dict)


class Adversary(Callback):
    """Byzantine clients that collude, with knowledge of honest updates.

    Args:
        rule: ``rule(honest, num_byzantine[, query]) -> (f, d)``, one of `fl_platform.attacks`.
        knowledge: the updates that it receives: ``"all"`` honest ones, a number k of them drawn
            anew in each round, or ``"own"``: the honest updates of its own clients.
        schedule: rounds and strength of the attack, and changes of its clients.
    """

    def __init__(
        self,
        rule: Callable[..., Tensor],
        *,
        knowledge: Knowledge = "all",
        schedule: AttackSchedule = ALWAYS,
    ) -> None:
        first = first_parameters(rule)[:1]
        if first != ["honest"]:
            raise TypeError(
                "Expected a colluding attack, whose first parameter is 'honest', got"
                f" {rule_name(rule)} with {first or 'no positional parameter'};"
                " attacks on a client's own update or labels belong in AgnosticAdversary."
            )
        if not (knowledge in ("all", "own") or (isinstance(knowledge, int) and knowledge >= 1)):
            raise ValueError(f"Expected knowledge 'all', 'own' or k >= 1, got {knowledge!r}.")
        self.rule = rule
        self.knowledge = knowledge
        self.schedule = schedule
        self.queries = "query" in first_parameters(rule)
        self.asked = asks(rule)
        if unknown := sorted(self.asked - {"round", "model", "layers"}):
            raise TypeError(
                "Expected a colluding attack to require only round, model and layers of the round's"
                f" context, got {rule_name(rule)}, which requires {', '.join(unknown)}."
            )

    @property
    def state_key(self) -> str:
        """A key with the rule's name, so that `setup` can explain a second adversary."""
        return f"Adversary.{rule_name(self.rule)}"

    @property
    def trains(self) -> bool:
        """True if the attack requires the training of its clients."""
        return self.knowledge == "own"

    def reference(self, honest: Updates, own: Updates | None, seed: int, index: int) -> Updates:
        """The updates that the attack receives in round ``index``."""
        if self.knowledge == "own":
            assert own is not None
            return own
        if isinstance(self.knowledge, int) and self.knowledge < len(honest):
            order = torch.randperm(len(honest), generator=generator(seed, "knowledge", index))
            return honest.select(order[: self.knowledge].sort().values)
        return honest

    def attack(
        self,
        reference: Updates,
        num_byzantine: int,
        query: Callable[[Tensor], Tensor],
        context: Context | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """The Byzantine rows ``(f, d)``, of a checked shape; a change of honest rows is refused.

        Rows may contain any number, also NaN: the defense's input check removes these. At a
        ``strength`` below 1 they are interpolated from the mean of ``reference``.
        """
        before = reference.matrix._version
        known = (context or Context()).asked(self.asked)
        if self.queries:
            known["query"] = query
        with refusals("attack"):
            rows = self.rule(reference, num_byzantine, **known)
        if reference.matrix._version != before:
            raise ValueError(
                f"Expected {rule_name(self.rule)} to leave the honest updates unchanged,"
                " but it wrote into them; work on a copy."
            )
        if not isinstance(rows, Tensor):
            raise TypeError(
                f"Expected {rule_name(self.rule)} to return a tensor of rows, got"
                f" {type(rows).__name__}."
            )
        allowed = (0, num_byzantine)
        if rows.ndim != 2 or len(rows) not in allowed or rows.shape[1] != reference.dimension:
            raise ValueError(
                f"Expected {rule_name(self.rule)} to return ({num_byzantine},"
                f" {reference.dimension}) rows, got {tuple(rows.shape)}."
            )
        return rows if strength == 1.0 else weakened(rows, reference.mean(), strength)

    def losses(self, honest: Tensor, num_byzantine: int) -> Tensor:
        """``(f,)`` training losses that Byzantine clients report where they do not train.

        An attack chooses them by a method ``losses(honest, num_byzantine)``. Without one, each
        reports the mean of the honest clients, the value that stands out least.

        Args:
            honest: ``(h,)`` losses of the honest clients.
            num_byzantine: f.
        """
        chosen = getattr(unwrapped(self.rule), "losses", None)
        if chosen is None:
            return honest.mean().expand(num_byzantine)
        losses: Tensor = chosen(honest, num_byzantine)
        if losses.shape != (num_byzantine,):
            raise ValueError(
                f"Expected {rule_name(self.rule)}.losses to return ({num_byzantine},) losses, got"
                f" {tuple(losses.shape)}."
            )
        return losses.to(honest)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a second adversary, a rule whose memory is not saved, and too much knowledge."""
        check_roles(trainer)
        refuse_lost_memory(self.rule)
        population = getattr(pl_module, "population", None)
        if population is None or not isinstance(self.knowledge, int):
            return  # sampled participants: in a round with fewer, the attack receives all of them
        n, f = population
        if self.knowledge > n - f:
            raise ValueError(
                f"Expected knowledge of at most {n - f} honest updates, those of n={n} clients"
                f" without f={f}, got {self.knowledge}; 'all' is all of them."
            )

    def state_dict(self) -> dict[str, Any]:
        """The memory of the attack."""
        return self.rule.state_dict() if hasattr(self.rule, "state_dict") else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the memory of the attack."""
        if hasattr(self.rule, "load_state_dict"):
            self.rule.load_state_dict(state_dict)


class AgnosticAdversary(Callback):
    """Byzantine clients that train honestly and know only their own update or labels.

    Args:
        rule: ``rule(update) -> (d,)``, or ``rule(labels, num_classes) -> labels``.
        schedule: when it attacks, how strongly, and when its clients change.
    """

    trains = True

    def __init__(self, rule: Callable[..., Tensor], *, schedule: AttackSchedule = ALWAYS) -> None:
        if not is_agnostic(rule):
            raise TypeError(
                "Expected an attack on a client's own 'update' or 'labels', got"
                f" {rule_name(rule)} with parameters {first_parameters(rule)}."
            )
        self.rule = rule
        self.schedule = schedule
        self.poisons_labels = first_parameters(rule)[0] == "labels"
        if self.poisons_labels and schedule.ramp:
            raise ValueError(
                f"attack.schedule.ramp: expected 0 for {rule_name(rule)}, which changes labels and"
                f" no updates, got {schedule.ramp}."
            )

    def relabel(self, num_classes: int) -> Callable[[Tensor], Tensor] | None:
        """The change of labels during the training, if any."""
        if not self.poisons_labels:
            return None
        return lambda labels: self.rule(labels, num_classes)

    def transform(self, rows: Tensor, strength: float = 1.0) -> None:
        """Replace each trained row ``(f, d)`` by the row sent at ``strength``."""
        if not self.poisons_labels:
            for row in rows:
                sent = self.rule(row)
                row.copy_(sent if strength == 1.0 else weakened(sent, row, strength))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a second adversary."""
        check_roles(trainer)


def weakened(rows: Tensor, origin: Tensor, strength: float) -> Tensor:
    """``origin + strength (rows - origin)``; equal rows in shared memory stay so."""
    if rows.ndim == 2 and len(rows) == 0:
        raise ValueError(
            "attack.schedule.ramp: expected 0 for an attack that sends nothing, which has no"
            " partial strength."
        )
    if rows.ndim == 2 and rows.stride(0) == 0:
        return torch.lerp(origin, rows[0].to(origin), strength).expand(len(rows), -1)
    return torch.lerp(origin.expand_as(rows), rows.to(origin), strength)


def adversary(
    rule: Callable[..., Tensor],
    *,
    knowledge: Knowledge = "all",
    schedule: AttackSchedule = ALWAYS,
) -> Callback:
    """The callback for ``rule``, chosen by its first parameter."""
    if is_agnostic(rule):
        return AgnosticAdversary(rule, schedule=schedule)
    return Adversary(rule, knowledge=knowledge, schedule=schedule)


def find_roles(trainer: Trainer) -> tuple[Aggregator, Adversary | AgnosticAdversary | None]:
    """The aggregator and the adversary, if any, among a trainer's callbacks."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    aggregators = [c for c in callbacks if isinstance(c, Aggregator)]
    adversaries = [c for c in callbacks if isinstance(c, Adversary | AgnosticAdversary)]
    if len(aggregators) != 1 or len(adversaries) > 1:
        found = [rule_name(c.chain.rule) for c in aggregators]
        attacks = [rule_name(c.rule) for c in adversaries]
        raise ValueError(
            "Expected exactly one Aggregator and at most one adversary among the callbacks,"
            f" got {len(aggregators)} ({', '.join(found) or 'none'}) and"
            f" {len(adversaries)} ({', '.join(attacks) or 'none'})."
        )
    return aggregators[0], adversaries[0] if adversaries else None


def check_roles(trainer: Trainer) -> None:
    """Raise unless there is exactly one aggregator and at most one adversary."""
    find_roles(trainer)

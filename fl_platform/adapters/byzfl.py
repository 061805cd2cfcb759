"""ByzFL: our rules in its form, its rules in ours.

ByzFL's aggregators, pre-aggregators and attacks are objects that are called with vectors and hold
f; ours are called with updates and f. ByzFL's vectors are gradients, which point as our updates
``w - w_i`` do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fl_platform.adapters.packages import needed
from fl_platform.core import Aggregate, Updates
from fl_platform.core.aggregate import as_aggregate
from fl_platform.core.rng import stream_seed
from fl_platform.core.rule import first_parameters, rule, snake_case, unwrapped


class ForByzfl:
    """A rule of ours as a ByzFL object; made by `to_byzfl`."""

    def __init__(
        self, rule: Callable[..., Any], f: int = 0, against: Sequence[Callable[..., Any]] = ()
    ) -> None:
        self.rule, self.f, self.against = rule, f, tuple(against)
        self.kind = kind_of(rule)
        if self.kind == "attack" and f < 1:
            raise ValueError(f"Expected f >= 1 for an attack, got {f}; f of its rows are sent.")

    def __call__(self, vectors: Any) -> Any:
        """The aggregate, the vectors after pre-aggregation, or the row that each attacker sends.

        Args:
            vectors: an ``(m, d)`` array or tensor, or a list of m vectors of one of the two.

        Returns:
            An array for arrays, a tensor for tensors; the dtype stays.
        """
        rows, plain = rows_of(vectors)
        answer = self._answer(Updates(rows))
        return answer.numpy() if plain else answer

    def _answer(self, updates: Updates) -> Tensor:
        if self.kind == "attack":
            asks = {"query": self._query(updates)} if "query" in first_parameters(self.rule) else {}
            sent: Tensor = self.rule(updates, self.f, **asks)
            return sent[0].clone()
        answer = self.rule(updates, self.f)
        if self.kind == "defense":
            return as_aggregate(answer, "the rule").vector
        if answer.ndim == 1:
            return updates.scaled(answer.double()).matrix
        return updates.mixed(answer).matrix

    def _query(self, honest: Updates) -> Callable[[Tensor], Tensor]:
        def aggregate(sent: Tensor) -> Tensor:
            vectors: Any = torch.cat([honest.matrix, sent.to(honest.matrix)])
            for part in self.against:
                vectors = part(vectors)
            return torch.as_tensor(vectors)

        if not self.against:
            raise ValueError(
                "Expected against= for an attack that asks the defense, got nothing; name the"
                " pre-aggregators and the aggregator, in order."
            )
        return aggregate


def to_byzfl(
    rule: Callable[..., Any], f: int = 0, *, against: Sequence[Callable[..., Any]] = ()
) -> ForByzfl:
    """A rule of ours as a ByzFL aggregator, pre-aggregator or attack; ByzFL need not be installed.

    Args:
        rule: a defense, a chain, a mixing, or an attack on honest updates.
        f: number of Byzantine rows; at least 1 for an attack. ByzFL sends one vector f times, so
            the first of the attack's rows is answered.
        against: for an attack that asks the defense: ByzFL's pre-aggregators and aggregator.

    Raises:
        ValueError: an attack with f < 1, or that asks the defense where none is given.

    Example:
        >>> import torch
        >>> from fl_platform.adapters import to_byzfl
        >>> from fl_platform.attacks import ipm
        >>> from fl_platform.defenses import nnm, trimmed_mean
        >>> vectors = [torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0]), torch.tensor([7.0, 8.0])]
        >>> to_byzfl(trimmed_mean, f=1)(vectors)
        tensor([4., 5.])
        >>> to_byzfl(nnm, f=1)(vectors)[2]
        tensor([5.5000, 6.5000])
        >>> to_byzfl(ipm(scale=2.0), f=1)(vectors)
        tensor([ -8., -10.])
    """
    return ForByzfl(rule, f, against)


def register_in_byzfl(name: str, rule: Callable[..., Any]) -> type[ForByzfl]:
    """Give a rule of ours a name in ByzFL, which its configuration files can then use.

    Args:
        name: of the class, such as ``"STRIKE"``; a name that ByzFL has is refused.
        rule: as for `to_byzfl`; its parameters are set beforehand: ``strike(nu=0.5)``.

    Returns:
        The class. ``parameters: {"f": 2}`` is what ByzFL gives it, and an attack needs.

    Raises:
        MissingPackage: ByzFL is not installed.
        ValueError: ByzFL has a rule of that name.
    """
    places = {
        "attack": "byzfl.attacks.attacks",
        "mixing": "byzfl.aggregators.preaggregators",
        "defense": "byzfl.aggregators.aggregators",
    }
    home = needed(places[kind_of(rule)])
    if hasattr(home, name):
        raise ValueError(f"Expected a name that {home.__name__} does not have, got {name!r}.")

    class Named(ForByzfl):
        def __init__(self, f: int = 0) -> None:
            super().__init__(rule, f)

    Named.__name__ = Named.__qualname__ = name
    setattr(home, name, Named)
    return Named


class _Theirs:
    """Objects of ByzFL, with what they remember and what they draw."""

    def __init__(self, parts: Sequence[Any], seed: int) -> None:
        self.parts, self.seed, self.calls = tuple(parts), seed, 0

    def __call__(self, updates: Updates, num_byzantine: int) -> Tensor:
        vectors: Any = updates.matrix.clone()  # its Clipping and ARC write into their argument
        devices = [vectors.device] if vectors.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stream_seed(self.seed, f"byzfl/{self.calls}"))
            self.calls += 1
            for part in self.parts:
                if hasattr(part, "f"):
                    part.f = num_byzantine
                vectors = part(vectors)
        return torch.as_tensor(vectors, dtype=updates.dtype, device=updates.device)

    def state_dict(self) -> dict[str, Any]:
        kept = (Tensor, int, float, str, type(None))
        parts = [
            {name: value for name, value in vars(part).items() if isinstance(value, kept)}
            for part in self.parts
            if hasattr(part, "__dict__")
        ]
        return {"calls": self.calls, "parts": parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = int(state["calls"])
        for part, values in zip(
            [part for part in self.parts if hasattr(part, "__dict__")], state["parts"], strict=True
        ):
            vars(part).update(values)


@rule(label="ByzFL")
class FromByzfl:
    """ByzFL's pre-aggregators and aggregator as a defense of ours; made by `from_byzfl`."""

    def __init__(self, parts: Sequence[Callable[..., Any]], seed: int = 0) -> None:
        self.theirs, self.seed = _Theirs(parts, seed), seed

    def __call__(self, updates: Updates, num_byzantine: int) -> Aggregate:
        """The aggregate, without weights; f is written to each part that has one."""
        self.theirs.seed = self.seed
        return Aggregate(self.theirs(updates, num_byzantine))

    def state_dict(self) -> dict[str, Any]:
        """What the objects remember and how often they were called."""
        return self.theirs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.theirs.load_state_dict(state)


def from_byzfl(aggregator: Callable[..., Any], *before: Callable[..., Any], seed: int = 0) -> Any:
    """A ByzFL aggregator, or any object that is called with vectors, as a defense of ours.

    Args:
        aggregator: ``vectors -> vector``. Its attribute ``f``, if it has one, is set to the f of
            each round, and is written to.
        before: pre-aggregators, in order.
        seed: of the stream from which the objects draw, so that a run with ByzFL's CAF repeats.

    Returns:
        ``(updates, num_byzantine) -> Aggregate`` without weights, for which no tolerance is known
        beyond a minority. ByzFL casts tensors to float32; the answer has the updates' dtype.

    Example:
        >>> import torch
        >>> from fl_platform.adapters import from_byzfl
        >>> mine = lambda vectors: vectors.median(0).values
        >>> from_byzfl(mine)(torch.tensor([[1.0, 0], [2, 1], [90, -90]]), 1).vector.tolist()
        [2.0, 0.0]
    """
    return FromByzfl((*before, aggregator), seed)


@rule(label="ByzFL")
class FromByzflAttack:
    """A ByzFL attack as an attack of ours; made by `attack_from_byzfl`."""

    def __init__(self, attack: Callable[..., Any], seed: int = 0) -> None:
        self.theirs, self.seed = _Theirs((attack,), seed), seed

    def __call__(self, honest: Updates, num_byzantine: int) -> Tensor:
        """``(f, d)`` equal rows."""
        self.theirs.seed = self.seed
        return self.theirs(honest, num_byzantine).expand(num_byzantine, -1)

    def state_dict(self) -> dict[str, Any]:
        """The state of the object and how often it was called."""
        return self.theirs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self.theirs.load_state_dict(state)


def attack_from_byzfl(attack: Callable[..., Any], *, seed: int = 0) -> Any:
    """A ByzFL attack, ``honest vectors -> vector``, as an attack of ours: f equal rows."""
    return FromByzflAttack(attack, seed)


class ByzflDefense(FromByzfl):
    """An aggregator of ByzFL by its name, for a configuration.

    Args:
        seed: of the stream from which it draws.
        name: a class of ``byzfl.aggregators``, such as ``GeometricMedian``.
        parameters: of its constructor, without f, which each round sets.

    Raises:
        MissingPackage: ByzFL is not installed.
        ValueError: ByzFL has no such aggregator.
    """

    def __init__(
        self, seed: int = 0, *, name: str, parameters: dict[str, Any] | None = None
    ) -> None:
        super().__init__([_made("byzfl.aggregators.aggregators", name, parameters)], seed)


class ByzflAttack(FromByzflAttack):
    """An attack of ByzFL by its name, for a configuration; parameters as for `ByzflDefense`."""

    def __init__(
        self, seed: int = 0, *, name: str, parameters: dict[str, Any] | None = None
    ) -> None:
        super().__init__(_made("byzfl.attacks.attacks", name, parameters), seed)


byzfl_defense, byzfl_attack = ByzflDefense, ByzflAttack


def _made(home: str, name: str, parameters: dict[str, Any] | None) -> Any:
    module = needed(home)
    classes = dict(inspect.getmembers(module, inspect.isclass))
    known = sorted(each for each, kind in classes.items() if kind.__module__ == home)
    if name not in known:
        raise ValueError(f"Expected name as one of {', '.join(known)}, got {name!r}.")
    return classes[name](**(parameters or {}))


def kind_of(rule: Callable[..., Any]) -> str:
    """``attack``, ``mixing`` or ``defense``: by the first parameter and the return annotation."""
    first, *_ = [*first_parameters(rule), ""]
    if first == "honest":
        return "attack"
    if first in ("update", "labels"):
        name = snake_case(getattr(unwrapped(rule), "__name__", type(rule).__name__))
        raise ValueError(
            f"Expected an attack on honest updates, got {name}, which sees one client's {first}."
        )
    gives = inspect.signature(rule).return_annotation
    return "mixing" if getattr(gives, "__name__", gives) == "Tensor" else "defense"


def rows_of(vectors: Any) -> tuple[Tensor, bool]:
    """``(m, d)`` rows of ByzFL's four kinds of input, and whether they came as arrays.

    Raises:
        TypeError: neither arrays nor tensors.
        ValueError: no vector.
    """
    several = isinstance(vectors, list | tuple)
    if several and not vectors:
        raise ValueError("Expected at least one vector, got an empty list.")
    one = vectors[0] if several else vectors
    if isinstance(one, Tensor):
        rows = torch.stack(list(vectors)) if several else vectors
    elif hasattr(one, "__array__"):
        rows = torch.stack([torch.tensor(v) for v in vectors]) if several else torch.tensor(vectors)
    else:
        raise TypeError(
            f"Expected vectors as an array, a tensor or a list of them, got {type(one).__name__}."
        )
    return (rows if rows.is_floating_point() else rows.double()), not isinstance(one, Tensor)

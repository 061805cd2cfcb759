"""One implementation of another library beside our rule, input by input."""

from __future__ import annotations

import inspect
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from fl_platform import attacks, defenses
from fl_platform.adapters.conformance.golden import difference
from fl_platform.adapters.conformance.inputs import FAMILIES, Input, Rows, drawn, inputs, small
from fl_platform.core import Updates
from fl_platform.core.context import Context, asks
from fl_platform.core.rule import first_parameters, is_agnostic

TOLERANCE = 1e-6
PATIENCE = 1.0  # seconds
REFUSALS = (ArithmeticError, ValueError, TypeError, IndexError, RuntimeError, TimeoutError)


@dataclass(frozen=True)
class Peer:
    """An implementation of another library.

    Attributes:
        package: its package.
        name: of the class or function.
        rule: the name of our rule.
        call: ``(rows, f) -> vector or rows``; for an attack honest rows -> one row.
        settings: of our rule, those under which it should be the same.
        draws: whether it draws without a seed.
    """

    package: str
    name: str
    rule: str
    call: Callable[[Rows, int], Any]
    settings: dict[str, Any] = field(default_factory=dict)
    draws: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        peer: the implementation.
        worst: family -> largest difference, ``None`` where it refused every input.
        refused: the first refusal, empty where it took every input.
        itself: largest difference between two calls with one input.
        least: the smallest input that differs, ``None`` where none was found.
    """

    peer: Peer
    worst: dict[str, float | None]
    refused: str
    itself: float
    least: Input | None = None

    @property
    def verdict(self) -> str:
        """``equal``; ``variant``, equal under settings that are not our default; ``ties``, equal
        but where rows or values tie; ``different``; ``refuses`` every input.
        """
        off = {k for k, value in self.worst.items() if value is not None and value > TOLERANCE}
        if off:
            return "ties" if off == {"tied"} else "different"
        if all(value is None for value in self.worst.values()):
            return "refuses"
        return "variant" if self.variant else "equal"

    @property
    def variant(self) -> dict[str, Any]:
        """The settings that choose a definition: not our default, and no number."""
        own = inspect.signature(rule_of(self.peer.rule)).parameters
        named = self.peer.settings.items()
        return {k: v for k, v in named if isinstance(v, str | bool) and own[k].default != v}


def rule_of(name: str) -> Any:
    """Our attack, defense or mixing of that name."""
    home = attacks if name in attacks.__all__ else defenses
    return getattr(home, name)


def ours(name: str, settings: dict[str, Any], rows: Rows, f: int, **known: Any) -> Rows:
    """The answer of our rule: a vector, mixed rows, or the row that each attacker sends."""
    rule: Any = rule_of(name)
    is_class = inspect.isclass(rule)
    made = rule(0, **settings) if is_class else partial(rule, **settings)
    first = first_parameters(rule.__call__ if is_class else rule)
    updates = Updates(torch.from_numpy(np.ascontiguousarray(rows)))
    if is_agnostic(made):
        raise ValueError(f"Expected a rule over rows, got {name}.")
    if "honest" in first:
        return np.asarray(made(updates, f)[0])
    context = Context(clients=torch.arange(len(rows)))
    answer = made(updates, f, **context.asked(asks(made)), **known)
    if not isinstance(answer, torch.Tensor):
        return np.asarray(answer.vector)
    mixed = updates.scaled(answer.double()) if answer.ndim == 1 else updates.mixed(answer)
    return np.asarray(mixed.matrix)


def compared(peer: Peer) -> Outcome:
    """The implementation beside our rule on all inputs, and the smallest input that differs."""
    worst: dict[str, float | None] = dict.fromkeys(FAMILIES)
    refused, itself = "", 0.0
    for each in [*inputs(), *drawn()]:
        if not fits(peer, each):
            continue
        try:
            got = answered(peer, each, seed=0)
            if peer.draws:
                itself = max(itself, difference(answered(peer, each, seed=1), got))
        except REFUSALS as refusal:
            refused = refused or f"{each.name}: {str(refusal).splitlines()[0]}"
            continue
        found = difference(got, ours(peer.rule, peer.settings, each.rows, each.f))
        worst[each.family] = max(worst[each.family] or 0.0, found)
    outcome = Outcome(peer, worst, refused, itself)
    if outcome.verdict not in ("different", "ties"):
        return outcome
    return Outcome(peer, worst, refused, itself, next(differing(peer), None))


def fits(peer: Peer, each: Input) -> bool:
    """Whether our rule is defined there: f within its limit, at least one attacker, few subsets."""
    if peer.rule in attacks.__all__:
        return each.f > 0
    rule = partial(rule_of(peer.rule), **peer.settings)
    if peer.rule in ("smea", "mda") and len(each.rows) > 15:
        return False
    return each.f <= defenses.largest_f(rule, len(each.rows))


def answered(peer: Peer, each: Input, seed: int) -> Rows:
    """Their answer to a copy of the rows, with their global streams at a seed.

    Raises:
        TimeoutError: no answer within `PATIENCE` seconds.
    """
    np.random.seed(seed)  # noqa: NPY002 - what they draw from
    torch.manual_seed(seed)
    with np.errstate(all="ignore"), patience(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = np.asarray(peer.call(each.rows.copy(), each.f), dtype=np.float64)
    if answer.ndim == 0:
        raise ValueError("answers nothing")
    return answer


@contextmanager
def patience() -> Iterator[None]:
    """End a call that does not end; only in the main thread, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"no answer within {PATIENCE:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def differing(peer: Peer) -> Iterator[Input]:
    """Small inputs on which the two differ, the smallest first."""
    for each in small():
        if not fits(peer, each):
            continue
        try:
            got = answered(peer, each, seed=0)
        except REFUSALS:
            continue
        if difference(got, ours(peer.rule, peer.settings, each.rows, each.f)) > TOLERANCE:
            yield each

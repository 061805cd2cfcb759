"""The server's side of a round on a device, as tests walk it: cases, and what would wait.

`Card` treats some CPU tensors as a GPU's and raises where a real one would make the host wait.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fl_platform import attacks, defenses
from fl_platform.core import Updates, generator
from fl_platform.core.context import Context
from fl_platform.core.deferred import Number
from fl_platform.federated.callbacks.roles import Aggregator
from fl_platform.metrics import deviation, selection, skew, skew_null
from fl_platform.metrics.robustness import kappa_products

N, F = 50, 10

ATTACKS: dict[str, Callable[[], Any]] = {
    "strike": lambda: attacks.strike,
    "strike, all rows": lambda: partial(attacks.strike, share=1.0),
    "lie": lambda: attacks.lie,
    "min_max": lambda: attacks.min_max,
    "min_max, unit": lambda: partial(attacks.min_max, deviation="unit"),
    "min_sum": lambda: attacks.min_sum,
    "ipm": lambda: attacks.ipm,
    "mimic": lambda: attacks.mimic(0),
}
DEFENSES: dict[str, Callable[[], tuple[Any, list[Any]]]] = {
    "mean": lambda: (defenses.mean, []),
    "krum": lambda: (defenses.krum, []),
    "multi_krum": lambda: (defenses.multi_krum, []),
    "nnm + multi_krum": lambda: (defenses.multi_krum, [defenses.nnm]),
    "nnm + median": lambda: (defenses.median, [defenses.nnm]),
    "bucketing + rfa": lambda: (defenses.rfa, [defenses.bucketing(0)]),
    "nnm + dnc": lambda: (defenses.dnc(0, coordinates=500), [defenses.nnm]),
    "dnc": lambda: (defenses.dnc(0, coordinates=500), []),
    "rfa": lambda: (defenses.rfa, []),
    "median": lambda: (defenses.median, []),
    "trimmed_mean": lambda: (defenses.trimmed_mean, []),
    "centered_clipping": lambda: (defenses.centered_clipping(tau=1.0, iterations=3), []),
    "aksel": lambda: (defenses.aksel, []),
    "bulyan": lambda: (defenses.bulyan, []),
}


def honest_rows(dimension: int) -> Tensor:
    """Rows around a common direction, a third of them skewed to one side."""
    draws = generator(0, "device-cases")
    rows = torch.randn(N - F, dimension, generator=draws) * 0.02
    common = torch.randn(dimension, generator=draws) * 0.01
    rows += common
    rows[: (N - F) // 3] += 0.02 * torch.rand(dimension, generator=draws)
    return rows * torch.linspace(0.5, 1.5, N - F)[:, None]


def one_round(
    rows: Tensor, attack: Any, rule: Any, mixings: list[Any]
) -> tuple[Tensor, Tensor | None, dict[str, Number]]:
    """Byzantine rows, gate, mixings, rule and all statistics: aggregate, weights, numbers."""
    honest = Updates(rows)
    sent = attack(honest, F)
    received = honest.extended(sent)
    order = torch.randperm(N, generator=generator(0, "arrival"))
    told = F if rule is not defenses.bulyan else 9
    sizes = torch.arange(1, N + 1)
    aggregate = Aggregator(rule, mixings).aggregate(received, told, order, Context(sizes=sizes))
    numbers: dict[str, Number] = dict(deviation(honest, aggregate.vector, sent))
    numbers |= skew(honest, F)
    numbers |= skew_null(honest, F, seed=0, index=0, draws=2)
    numbers |= kappa_products(received, aggregate.vector)
    if aggregate.weights is not None:
        numbers |= selection(aggregate.weights, len(honest))
    return aggregate.vector, aggregate.weights, numbers


class Waits(AssertionError):  # noqa: N818 - it says what the host does
    """The host would wait for the GPU here."""


READS = {"tolist", "item", "cpu", "numpy", "__array__", "__bool__", "__float__", "__int__"}
LOOKS = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::item",
    "aten::masked_select",
    "aten::equal",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::nanmedian",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::repeat_interleave.Tensor",
)


class Card(TorchFunctionMode):
    """While it is entered, whatever is computed from ``tensors`` is on the card.

    Not seen here, only on a real card: a copy from the host that waits.
    """

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__()
        for tensor in tensors:
            tensor.on_card = True  # type: ignore[attr-defined]
        self._below = _Below()

    def __enter__(self) -> Card:
        self._below.__enter__()
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self._below.__exit__(*reason)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READS and on_card(args):
            raise Waits(func.__name__)
        return func(*args, **(kwargs or {}))


class _Below(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not on_card([*args, *kwargs.values()]):
            return func(*args, **kwargs)
        name = func._schema.name
        index = args[1] if name.startswith(("aten::index", "aten::_index")) else ()
        masked = isinstance(index, list) and any(
            isinstance(one, Tensor) and one.dtype == torch.bool for one in index
        )
        if name in LOOKS or masked:
            raise Waits(name)
        result = func(*args, **kwargs)
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                tensor.on_card = True  # type: ignore[attr-defined]
        return result


def on_card(arguments: Any) -> bool:
    """Whether one of the arguments, in lists too, is on the card."""
    return any(
        on_card(one) if isinstance(one, list | tuple) else getattr(one, "on_card", False)
        for one in arguments
    )

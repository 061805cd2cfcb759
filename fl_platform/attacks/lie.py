"""LIE, "a little is enough": every coordinate moved by z honest standard deviations."""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated, Literal

from torch import Tensor

from fl_platform.attacks.directions import Side, sign_of, std_of
from fl_platform.attacks.rows import check_inputs, equal_rows
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.core.updates import Updates


@rule(label="LIE", shardable=True)
def lie(
    honest: Updates,
    num_byzantine: int,
    *,
    z: Annotated[float, AtLeast(0)] = 1.5,
    z_from: Literal["fixed", "baruch", "baruch_n", "ndss21"] = "fixed",
    side: Side = "above",
    ddof: Literal[0, 1] = 0,
) -> Tensor:
    """The honest mean shifted by z standard deviations in every coordinate.

    .. math:: (g_b)_k = \\mu_k \\pm z\\,\\sigma_k

    Args:
        honest: ``(h, d)`` honest updates, h + f = n.
        num_byzantine: f >= 0.
        z: number of standard deviations, >= 0; used where ``z_from`` is ``fixed``.
        z_from: ``fixed``; ``baruch``: the paper's
            :math:`z = \\Phi^{-1}\\left(\\tfrac{n-f-s}{n-f}\\right)`,
            :math:`s = \\lfloor n/2 + 1\\rfloor - f` supporters; ``baruch_n``:
            :math:`\\Phi^{-1}\\left(\\tfrac{n-s}{n}\\right)`, the fraction of all clients (ByzPy,
            krum-lib); ``ndss21``: the table shipped with MinMax, which holds :math:`\\Phi` of
            ``baruch``'s fraction where its inverse is meant.
        side: ``above`` adds, ``below`` subtracts; sigma has no sign of its own. Default:
            ``above``, the harmful side (see below).
        ddof: 0 divides the variance by h, 1 by h - 1 (h = 1 gives sigma = 0 for both).

    Returns:
        ``(f, d)`` equal rows, a stride-0 view.

    Raises:
        TypeError, ValueError: wrong type or value of an input.

    Why ``above`` harms: the weight from a feature :math:`a_j \\ge 0` to the logit of class c has
    the update :math:`g_{cj} \\propto (p_c - q_c)\\,a_j` at a client whose samples have a share
    :math:`q_c` of class c, :math:`p_c` the model's mean probability. Shares of more than two
    classes are skewed to the right, so updates are skewed to the left: most clients lie above
    the mean. A row above it hides among them and sends what a client sends that has no class at
    all, so the answer loses what the few owners of each class taught; a row below repeats it.
    To first order the loss changes by :math:`\\mp z\\langle\\mu,\\sigma\\rangle`, which is harm
    above where :math:`\\langle\\mu,\\sigma\\rangle < 0`. ``docs/rules/attacks.md`` (Sides) has the
    validation accuracies of both.

    Source: G. Baruch, M. Baruch, Y. Goldberg, "A Little Is Enough: Circumventing Defenses For
    Distributed Learning" (2019), whose code subtracts from gradients (``below``). The code of
    NDSS 2021 and ByzFL add; the STRIKE authors' code subtracts 1.5 population standard
    deviations from ``w_i - w``, which on our ``g = w - w_i`` is ``above``. ByzFL divides by
    h - 1. ``baruch`` at n = 10, f = 2 gives z = 0, which is no attack. It also needs n: if the
    attack sees only part of the honest rows, set a fixed z.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> from fl_platform.attacks import lie
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> lie(honest, 1, z=1.0)
        tensor([[4.3452, 2.0000]])
    """
    check_inputs(honest, num_byzantine)
    strength = z if z_from == "fixed" else supporters_z(len(honest), num_byzantine, z_from)
    shift = sign_of(side) * strength * std_of(honest, ddof)
    return equal_rows(honest.mean() + shift, num_byzantine)


def supporters_z(
    num_honest: int,
    num_byzantine: int,
    z_from: Literal["baruch", "baruch_n", "ndss21"] = "baruch",
) -> float:
    """The largest z at which s honest clients are expected beyond the Byzantine value.

    Where the formula leaves its range (the f are a majority, s < 1) s is 1, and z is at least
    0, so that z stays finite in every round of a sampled run.

    Example:
        >>> from fl_platform.attacks.lie import supporters_z
        >>> round(supporters_z(50, 20), 4)
        0.4677
    """
    if z_from not in ("baruch", "baruch_n", "ndss21"):
        raise ValueError(f"Expected z_from fixed, baruch, baruch_n or ndss21, got {z_from!r}.")
    n = num_honest + num_byzantine
    supporters = max(n // 2 + 1 - num_byzantine, 1)
    among = n if z_from == "baruch_n" else num_honest
    fraction = (among - supporters) / among
    if fraction <= 0:
        return 0.0
    normal = NormalDist()
    return max(normal.cdf(fraction) if z_from == "ndss21" else normal.inv_cdf(fraction), 0.0)

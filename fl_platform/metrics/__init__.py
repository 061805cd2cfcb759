"""Metrics of a round: functions from tensors to numbers; no metric changes the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.metrics.deviation import deviation
    from fl_platform.metrics.robustness import empirical_kappa, kappa_bound, kappa_floor, nnm_kappa
    from fl_platform.metrics.selection import byzantine_coordinates, selection
    from fl_platform.metrics.skew import gaussian_rho, skew, skew_null

__all__ = [
    "byzantine_coordinates",
    "deviation",
    "empirical_kappa",
    "gaussian_rho",
    "kappa_bound",
    "kappa_floor",
    "nnm_kappa",
    "selection",
    "skew",
    "skew_null",
]

lazy(__name__)

"""The Lightning side: one ``training_step`` is one communication round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.federated.callbacks.metrics import Evaluator
    from fl_platform.federated.callbacks.roles import (
        Adversary,
        Aggregator,
        AgnosticAdversary,
        adversary,
    )
    from fl_platform.federated.client_training import LocalTraining
    from fl_platform.federated.federation import Federation, Samples
    from fl_platform.federated.module import Diverged, FederatedModule
    from fl_platform.federated.round import Round

__all__ = [
    "Adversary",
    "Aggregator",
    "AgnosticAdversary",
    "Diverged",
    "Evaluator",
    "FederatedModule",
    "Federation",
    "LocalTraining",
    "Round",
    "Samples",
    "adversary",
]

lazy(__name__)

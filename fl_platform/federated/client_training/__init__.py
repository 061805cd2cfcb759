"""The client trainers: several backends with one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.federated.client_training.channels_last import ChannelsLast, pays
    from fl_platform.federated.client_training.cuda_graph import Graphed
    from fl_platform.federated.client_training.select import (
        WAYS,
        Choice,
        build_way,
        choose,
        fast_products,
    )
    from fl_platform.federated.client_training.sequential import Sequential
    from fl_platform.federated.client_training.settings import LocalTraining
    from fl_platform.federated.client_training.stacked_network import (
        spares_products,
        stacking_obstacle,
    )
    from fl_platform.federated.client_training.stacked_training import Stacked
    from fl_platform.federated.client_training.trainable_only import TrainableOnly, for_trainable
    from fl_platform.federated.client_training.trainer import Clients, Loss, Way, WayName
    from fl_platform.federated.client_training.vmapped import Vmapped

__all__ = [
    "WAYS",
    "ChannelsLast",
    "Choice",
    "Clients",
    "Graphed",
    "LocalTraining",
    "Loss",
    "Sequential",
    "Stacked",
    "TrainableOnly",
    "Vmapped",
    "Way",
    "WayName",
    "build_way",
    "choose",
    "fast_products",
    "for_trainable",
    "pays",
    "spares_products",
    "stacking_obstacle",
]

lazy(__name__)

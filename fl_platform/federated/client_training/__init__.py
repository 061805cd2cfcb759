"""The client trainers: several backends with one interface."""

from fl_platform.federated.client_training.select import WAYS, Choice, build_way, choose
from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.client_training.trainer import Clients, Loss, Way, WayName

__all__ = [
    "WAYS",
    "Choice",
    "Clients",
    "LocalTraining",
    "Loss",
    "Way",
    "WayName",
    "build_way",
    "choose",
]

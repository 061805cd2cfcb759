"""What the server makes of the received updates: one file a rule, and the chain around them."""

from fl_platform.defenses.chain import Chain
from fl_platform.defenses.krum import krum, multi_krum
from fl_platform.defenses.mean import mean
from fl_platform.defenses.median import median
from fl_platform.defenses.tolerance import largest_f, tolerates
from fl_platform.defenses.trimmed_mean import trimmed_mean

__all__ = [
    "Chain",
    "krum",
    "largest_f",
    "mean",
    "median",
    "multi_krum",
    "tolerates",
    "trimmed_mean",
]

"""How the server estimates the honest mean: one file a rule, and the chain around them."""

from fl_platform.defenses.aksel import aksel
from fl_platform.defenses.bulyan import bulyan
from fl_platform.defenses.centered_clipping import CenteredClipping, centered_clipping
from fl_platform.defenses.chain import Chain
from fl_platform.defenses.dnc import DnC, dnc
from fl_platform.defenses.krum import krum, multi_krum
from fl_platform.defenses.mda import mda
from fl_platform.defenses.mean import mean
from fl_platform.defenses.median import median
from fl_platform.defenses.mixing import Bucketing, bucketing, nnm
from fl_platform.defenses.rfa import rfa
from fl_platform.defenses.tolerance import largest_f, tolerates
from fl_platform.defenses.trimmed_mean import trimmed_mean

__all__ = [
    "Bucketing",
    "CenteredClipping",
    "Chain",
    "DnC",
    "aksel",
    "bucketing",
    "bulyan",
    "centered_clipping",
    "dnc",
    "krum",
    "largest_f",
    "mda",
    "mean",
    "median",
    "multi_krum",
    "nnm",
    "rfa",
    "tolerates",
    "trimmed_mean",
]

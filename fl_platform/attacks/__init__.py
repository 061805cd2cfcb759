"""The attacks, one idea per file; ``conf/attack/<name>.yaml`` names each as here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.attacks.ablations import lie_matched, strike_ablation
    from fl_platform.attacks.absent import absent
    from fl_platform.attacks.agr_tailored import agr_tailored
    from fl_platform.attacks.bit_flip import bit_flip
    from fl_platform.attacks.directional import directional
    from fl_platform.attacks.fang import fang
    from fl_platform.attacks.fang_krum import fang_krum
    from fl_platform.attacks.fang_trimmed_mean import fang_trimmed_mean
    from fl_platform.attacks.gaussian import gaussian
    from fl_platform.attacks.inf import inf
    from fl_platform.attacks.ipm import ipm
    from fl_platform.attacks.label_flip import label_flip
    from fl_platform.attacks.lie import lie
    from fl_platform.attacks.mimic import mimic
    from fl_platform.attacks.min_max import min_max, min_sum
    from fl_platform.attacks.mpaf import mpaf
    from fl_platform.attacks.none import none
    from fl_platform.attacks.optimal import optimal_alie, optimal_ipm
    from fl_platform.attacks.poisoned_fl import poisoned_fl
    from fl_platform.attacks.rop import rop
    from fl_platform.attacks.strike import strike
    from fl_platform.attacks.zero import zero

__all__ = [
    "absent",
    "agr_tailored",
    "bit_flip",
    "directional",
    "fang",
    "fang_krum",
    "fang_trimmed_mean",
    "gaussian",
    "inf",
    "ipm",
    "label_flip",
    "lie",
    "lie_matched",
    "mimic",
    "min_max",
    "min_sum",
    "mpaf",
    "none",
    "optimal_alie",
    "optimal_ipm",
    "poisoned_fl",
    "rop",
    "strike",
    "strike_ablation",
    "zero",
]

lazy(__name__)

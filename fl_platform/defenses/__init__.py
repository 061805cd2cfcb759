"""Defenses, which estimate the honest mean: one file per rule, and the chain of all steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.defenses.aksel import aksel
    from fl_platform.defenses.bulyan import bulyan
    from fl_platform.defenses.caf import caf
    from fl_platform.defenses.centered_clipping import CenteredClipping, centered_clipping
    from fl_platform.defenses.cge import cge
    from fl_platform.defenses.chain import Chain
    from fl_platform.defenses.clipping import arc, clipping, unit_rows
    from fl_platform.defenses.cosine_bucketing import CosineBucketing, cosine_bucketing
    from fl_platform.defenses.crowding import crowding
    from fl_platform.defenses.dnc import DnC, dnc
    from fl_platform.defenses.fed_seca import fed_seca
    from fl_platform.defenses.fl_detector import FlDetector, fl_detector
    from fl_platform.defenses.flame import Flame, flame
    from fl_platform.defenses.fltrust import fltrust
    from fl_platform.defenses.foolsgold import Foolsgold, foolsgold
    from fl_platform.defenses.gas import Gas, gas
    from fl_platform.defenses.krum import krum, multi_krum
    from fl_platform.defenses.lasa import lasa
    from fl_platform.defenses.mda import mda
    from fl_platform.defenses.mea_med import mea_med
    from fl_platform.defenses.mean import mean
    from fl_platform.defenses.median import median
    from fl_platform.defenses.mixing import Bucketing, bucketing, nnm
    from fl_platform.defenses.monna import monna
    from fl_platform.defenses.norm_bound import norm_bound
    from fl_platform.defenses.phocas import phocas
    from fl_platform.defenses.rfa import rfa
    from fl_platform.defenses.rlr import rlr
    from fl_platform.defenses.sign_guard import SignGuard, sign_guard
    from fl_platform.defenses.smea import smea
    from fl_platform.defenses.spectral_filter import spectral_filter
    from fl_platform.defenses.tolerance import largest_f, tolerates
    from fl_platform.defenses.trimmed_mean import trimmed_mean

__all__ = [
    "Bucketing",
    "CenteredClipping",
    "Chain",
    "CosineBucketing",
    "DnC",
    "FlDetector",
    "Flame",
    "Foolsgold",
    "Gas",
    "SignGuard",
    "aksel",
    "arc",
    "bucketing",
    "bulyan",
    "caf",
    "centered_clipping",
    "cge",
    "clipping",
    "cosine_bucketing",
    "crowding",
    "dnc",
    "fed_seca",
    "fl_detector",
    "flame",
    "fltrust",
    "foolsgold",
    "gas",
    "krum",
    "largest_f",
    "lasa",
    "mda",
    "mea_med",
    "mean",
    "median",
    "monna",
    "multi_krum",
    "nnm",
    "norm_bound",
    "phocas",
    "rfa",
    "rlr",
    "sign_guard",
    "smea",
    "spectral_filter",
    "tolerates",
    "trimmed_mean",
    "unit_rows",
]

lazy(__name__)

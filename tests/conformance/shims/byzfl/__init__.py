# ruff: noqa: N802 (the names are ByzFL's)
"""ByzFL's names on our rules, for ByzFL's own unit tests: `import byzfl` finds this instead."""

from fl_platform.adapters import to_byzfl
from fl_platform.attacks import gaussian, inf, ipm, lie, mimic, optimal_alie, optimal_ipm
from fl_platform.defenses import (
    arc,
    bucketing,
    caf,
    centered_clipping,
    clipping,
    krum,
    mda,
    mea_med,
    mean,
    median,
    monna,
    multi_krum,
    nnm,
    rfa,
    smea,
    trimmed_mean,
)


def Average():
    return to_byzfl(mean)


def Median():
    return to_byzfl(median)


def TrMean(f=0):
    return to_byzfl(trimmed_mean, f)


def GeometricMedian(nu=0.1, T=3):
    return to_byzfl(rfa(start="zero", iterations=T, eps=nu))


def Krum(f=0):
    return to_byzfl(krum(neighbors="n-f-1"), f)


def MultiKrum(f=0):
    return to_byzfl(multi_krum(neighbors="n-f-1"), f)


def CenteredClipping(m=None, L=1, tau=100.0):
    return to_byzfl(centered_clipping(tau=tau, iterations=L))


def MDA(f=0):
    return to_byzfl(mda, f)


def MoNNA(f=0, idx=0):
    return to_byzfl(monna(pivot=idx), f)


def Meamed(f=0):
    return to_byzfl(mea_med, f)


def CAF(f=0):
    return to_byzfl(caf, f)


def SMEA(f=0):
    return to_byzfl(smea, f)


def NNM(f=0):
    return to_byzfl(nnm, f)


def Bucketing(s=1):
    return to_byzfl(bucketing(seed=0, s=s))


def Clipping(c=2.0):
    return to_byzfl(clipping(c=c))


def ARC(f=0):
    return to_byzfl(arc, f)


def SignFlipping():
    return to_byzfl(ipm(scale=1.0), 1)


def InnerProductManipulation(tau=2.0):
    return to_byzfl(ipm(scale=tau), 1)


def ALittleIsEnough(tau=1.5):
    return to_byzfl(lie(z=tau, side="above", ddof=1), 1)


def Optimal_InnerProductManipulation(agg, pre_agg_list=(), f=1, evals=20):
    attack = optimal_ipm(search="byzfl", evaluations=evals)
    return to_byzfl(attack, f, against=[*pre_agg_list, agg])


def Optimal_ALittleIsEnough(agg, pre_agg_list=(), f=1, evals=20):
    attack = optimal_alie(search="byzfl", evaluations=evals, ddof=1, side="above")
    return to_byzfl(attack, f, against=[*pre_agg_list, agg])


def Mimic(epsilon=0):
    return to_byzfl(mimic(copied=epsilon), 1)


def Inf():
    return to_byzfl(inf, 1)


def Gaussian(mu=0.0, sigma=1.0):
    return to_byzfl(gaussian(seed=0, mu=mu, sigma=sigma, draw="one"), 1)

"""Tables of numbers -> matplotlib figures: nothing here loads, trains or opens a window."""

from fl_platform.report.figures.curves import accuracy_curves
from fl_platform.report.figures.diagnostics import kappa_figure, skew_figure
from fl_platform.report.figures.embedding import cloud_figure, embed, embedded, labels_of
from fl_platform.report.figures.heatmap import worst_case_heatmap
from fl_platform.report.figures.published_curves import published_curves
from fl_platform.report.figures.style import save
from fl_platform.report.figures.sweeps import beta_sweep, mixing_bars, nu_sweep

__all__ = [
    "accuracy_curves",
    "beta_sweep",
    "cloud_figure",
    "embed",
    "embedded",
    "kappa_figure",
    "labels_of",
    "mixing_bars",
    "nu_sweep",
    "published_curves",
    "save",
    "skew_figure",
    "worst_case_heatmap",
]

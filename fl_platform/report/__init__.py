"""Runs -> tables, figures and one page, beside the paper's own numbers; nothing is trained."""

from fl_platform.report.cells import cells
from fl_platform.report.write import write_report

__all__ = ["cells", "write_report"]

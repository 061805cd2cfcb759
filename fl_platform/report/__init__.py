"""Tables, figures and one page from recorded runs, beside the paper's numbers; no training."""

from fl_platform.report.cells import cells
from fl_platform.report.write import write_report

__all__ = ["cells", "write_report"]

"""Cells -> tables: accuracies, ours beside the paper's, worst cases, costs, provenance."""

from fl_platform.report.tables.accuracy import accuracy_table, worst_case_table
from fl_platform.report.tables.base import Entry, Table
from fl_platform.report.tables.comparison import comparison_table
from fl_platform.report.tables.provenance import cost_table, provenance_table
from fl_platform.report.tables.ranking import best_table, claims_table, column_claims, row_claims

__all__ = [
    "Entry",
    "Table",
    "accuracy_table",
    "best_table",
    "claims_table",
    "column_claims",
    "comparison_table",
    "cost_table",
    "provenance_table",
    "row_claims",
    "worst_case_table",
]

"""Tables from cells: accuracy, comparison with the paper, ranking, cost, provenance."""

from fl_platform.report.tables.accuracy import accuracy_table, worst_case_table
from fl_platform.report.tables.comparison import comparison_table, restated_table
from fl_platform.report.tables.cost_and_provenance import cost_table, provenance_table
from fl_platform.report.tables.ranking import best_table, claims_table, column_claims, row_claims
from fl_platform.report.tables.table import Table, TableEntry

Entry = TableEntry  # the name of before, for code that imports it

__all__ = [
    "Entry",
    "Table",
    "TableEntry",
    "accuracy_table",
    "best_table",
    "claims_table",
    "column_claims",
    "comparison_table",
    "cost_table",
    "provenance_table",
    "restated_table",
    "row_claims",
    "worst_case_table",
]

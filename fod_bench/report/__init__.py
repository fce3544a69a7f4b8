"""Tables from the records of a store: the paper's, and one for any job."""

from fod_bench.report.explain import Explanation, Selected, explain, explanation_text
from fod_bench.report.paper import PAPER_TABLES, paper_table
from fod_bench.report.plain import plain_table
from fod_bench.report.render import build_tables, render_report
from fod_bench.report.results import SELECTIONS, Observation, Results, Selection, read_results
from fod_bench.report.table import Column, Table, TableCell, TableRow

__all__ = [
    "PAPER_TABLES",
    "SELECTIONS",
    "Column",
    "Explanation",
    "Observation",
    "Results",
    "Selected",
    "Selection",
    "Table",
    "TableCell",
    "TableRow",
    "build_tables",
    "explain",
    "explanation_text",
    "paper_table",
    "plain_table",
    "read_results",
    "render_report",
]

"""Tables from the records of a store: the paper's, and one for any job."""

from fod_bench.paper.figures import FIGURES
from fod_bench.paper.forms import PAPER_TABLES
from fod_bench.report.explain import Explanation, Selected, explain, explanation_text
from fod_bench.report.figures import figure_names, render_figures, undrawn
from fod_bench.report.formats.registry import FORMATS, report_format
from fod_bench.report.job_table import plain_table
from fod_bench.report.own import OwnTable, own_tables
from fod_bench.report.paper_table import paper_table
from fod_bench.report.reading import read_results
from fod_bench.report.render import build_tables, render_report
from fod_bench.report.results import SELECTIONS, Observation, Outcome, Results, Selection
from fod_bench.report.selection import job_results, no_result
from fod_bench.report.table import Column, Table, TableCell, TableRow

__all__ = [
    "FIGURES",
    "FORMATS",
    "PAPER_TABLES",
    "SELECTIONS",
    "Column",
    "Explanation",
    "Observation",
    "Outcome",
    "OwnTable",
    "Results",
    "Selected",
    "Selection",
    "Table",
    "TableCell",
    "TableRow",
    "build_tables",
    "explain",
    "explanation_text",
    "figure_names",
    "job_results",
    "no_result",
    "own_tables",
    "paper_table",
    "plain_table",
    "read_results",
    "render_figures",
    "render_report",
    "report_format",
    "undrawn",
]

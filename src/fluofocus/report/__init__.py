"""Figures and pages that show results to people."""

from fluofocus.report.figures import (
    plot_before_after,
    plot_calibration,
    plot_evaluation,
    plot_stack_overview,
)
from fluofocus.report.html import Page

__all__ = [
    "Page",
    "plot_before_after",
    "plot_calibration",
    "plot_evaluation",
    "plot_stack_overview",
]

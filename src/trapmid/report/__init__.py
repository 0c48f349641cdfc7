"""The report: scores and pictures to one HTML file that a risk officer can read."""

from trapmid.report.write import write_report

__all__ = ["write_report"]

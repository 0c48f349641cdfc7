"""The report: scores and pictures to one HTML file that a risk officer can read."""

from trapmid.report.card import write_card
from trapmid.report.live import AuditReport, audit_model
from trapmid.report.write import write_report

__all__ = ["AuditReport", "audit_model", "write_card", "write_report"]

"""The paper's tables and figures: each an experiment of cells and columns, run as audits at two scales, beside the published numbers."""

from trapmid.reproduction.experiments import EXPERIMENTS

__all__ = ["EXPERIMENTS"]

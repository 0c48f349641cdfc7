"""The paper's tables and figures as experiments, run at two scales and shown beside the published numbers."""

from trapmid.reproduction.experiments import EXPERIMENTS

__all__ = ["EXPERIMENTS"]

"""How figures look, whatever they show: narrow, on a faint grid, their text as text."""

from typing import Any

WIDTH = 4.6
"""Inches. Narrow, so that on a phone the text is not scaled below what can be read."""


def style(ink: str, faint: str, grid: str) -> Any:
    """Settings for `matplotlib.rc_context`; the same figure is the same SVG, byte for byte.

    Args:
        ink: colour of text that is read first.
        faint: of other text.
        grid: of lines behind the data.
    """
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "trapmid",
        "text.parse_math": False,
        "font.size": 9,
        "text.color": ink,
        "axes.labelcolor": faint,
        "axes.edgecolor": grid,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": grid,
        "grid.linewidth": 0.7,
        "xtick.color": grid,
        "ytick.color": grid,
        "xtick.labelcolor": faint,
        "ytick.labelcolor": ink,
        "legend.frameon": False,
    }

"""The style of all figures: narrow, on a faint grid, with text that stays text."""

from typing import Any

WIDTH = 4.6
"""Width in inches. It is small so that text stays readable when a phone scales the figure."""


def style(ink: str, faint: str, grid: str) -> Any:
    """Settings for `matplotlib.rc_context`. Equal figures give equal SVG files, byte for byte.

    Args:
        ink: colour of the main text.
        faint: colour of other text.
        grid: colour of the lines behind the data.
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

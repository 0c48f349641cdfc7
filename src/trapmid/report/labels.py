"""Places the labels of a scatter plot so that they cover neither each other nor a point, as far as there is room."""

from collections.abc import Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox, BboxBase

from trapmid.report.chart import FAINT, INK

DISTANCES = (8, 20, 34, 50, 68)
"""Distances in points between a mark and its label, in the order tried. From the second on, a line joins the two."""

DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
MARK = 5.0
"""Half the width of a mark including its margin, in points."""


def spread_labels(axes: Axes, points: Sequence[tuple[str, int | float, int | float]]) -> None:
    """Label points, given as (text, x, y), one after another.

    Each label takes the first free place or, if there is none, the place where it covers least. This fixes the layout:
    the limits of the axes must not change afterwards.

    Raises:
        ValueError: the axes belong to no figure.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("The axes belong to no figure.")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    room, pixels = axes.get_window_extent(), figure.dpi / 72
    marks = [axes.transData.transform((x, y)).tolist() for _, x, y in points]
    reach = MARK * pixels
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in marks]
    for (text, x, y), place in zip(points, marks, strict=True):
        measured = axes.text(0, 0, text)
        size = measured.get_window_extent()
        measured.remove()
        boxes = {
            (distance, direction): _box(place, direction, distance * pixels, size)
            for distance, direction in product(DISTANCES, DIRECTIONS)
        }
        distance, (right, up) = min(boxes, key=lambda where: _covered(boxes[where], taken, room))  # the first of equals
        taken.append(boxes[distance, (right, up)])
        axes.annotate(
            text,
            (x, y),
            _offset((right, up), distance),
            textcoords="offset points",
            ha=("center", "left", "right")[right],
            va=("center", "bottom", "top")[up],
            color=INK,
            arrowprops=None if distance == DISTANCES[0] else {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6},
        )


def _offset(direction: tuple[int, int], distance: int | float) -> tuple[int | float, int | float]:
    shrink = 0.6 if all(direction) else 1.0
    return direction[0] * distance * shrink, direction[1] * distance * shrink


def _box(place: Sequence[int | float], direction: tuple[int, int], distance: int | float, size: Bbox) -> Bbox:
    across, up = _offset(direction, distance)
    left = place[0] + across - size.width * (1 - direction[0]) / 2
    bottom = place[1] + up - size.height * (1 - direction[1]) / 2
    return Bbox.from_bounds(left, bottom, size.width, size.height)


def _covered(box: Bbox, taken: Sequence[Bbox], room: BboxBase) -> int | float:
    """The area of the box, in square pixels, that overlaps other boxes or lies outside the axes."""
    shared = [Bbox.intersection(box, other) for other in taken]
    inside = Bbox.intersection(box, room)
    outside = box.width * box.height - (inside.width * inside.height if inside is not None else 0)
    return max(outside, 0) + sum(one.width * one.height for one in shared if one is not None)

"""Draws the figures of the documentation: `uv run python docs/figures/draw.py` writes them beside this file.

They are SVG, light or dark as the page around them. Faces are drawn by code. Measured values come from the tables of
docs/experiments/from-scratch.md.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from trapmid.data import SyntheticSource
from trapmid.data.images import to_pixels, to_png
from trapmid.report.palette import DARK, LIGHT

HERE = Path(__file__).parent
TABLES = HERE.parent / "experiments" / "from-scratch.md"
FACE = 48
COLOURS = ("ink", "muted", "line", "card", "series-0", "series-1", "series-2", "series-3")


def figure(width: int, height: int, title: str, about: str, *parts: str) -> str:
    """A whole SVG file on a ground of its own, with a description for screen readers."""

    def rules(palette: dict[str, str]) -> str:
        return " ".join(
            f".{name} {{ fill: {palette[name]}; }} .{name}-line {{ stroke: {palette[name]}; fill: none; }}"
            for name in COLOURS
        )

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="t d">\n<title id="t">{title}</title>\n<desc id="d">{about}</desc>\n'
        f"<style>text {{ font: 14px system-ui, sans-serif; }} .small {{ font-size: 12px; }} "
        f".strong {{ font-weight: 600; }} line, path, rect {{ stroke-width: 1.5; }} {rules(LIGHT)} "
        f"@media (prefers-color-scheme: dark) {{ {rules(DARK)} }}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" class="muted"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" class="card"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def say(x: float, y: float, text: str, kind: str = "ink", anchor: str = "middle") -> str:
    """A line of text; `kind` are classes: a colour, and `small` or `strong`."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{text}</text>'


def box(x: float, y: float, width: float, height: float, *lines: str, colour: str = "muted") -> str:
    """A box with lines of text in its middle."""
    first = y + height / 2 + 5 - 9 * (len(lines) - 1)
    texts = [
        say(x + width / 2, first + 18 * row, line, "ink strong" if row == 0 else "muted small")
        for row, line in enumerate(lines)
    ]
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" class="{colour}-line"/>'
    return "\n".join([frame, *texts])


def arrow(path: str, colour: str = "muted") -> str:
    """A line with a tip at its end; `path` is that of SVG."""
    return f'<path d="{path}" class="{colour}-line" marker-end="url(#tip)"/>'


def picture(pixels: torch.Tensor, x: float, y: float, size: float) -> str:
    """An image (c, h, w), uint8."""
    content = base64.b64encode(to_png(pixels)).decode()
    return f'<image x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" href="data:image/png;base64,{content}"/>'


def faces(people: int, images: int, first: int = 0) -> torch.Tensor:
    """Drawn faces, (people * images, 3, 48, 48), uint8."""
    return SyntheticSource(identities=people, images_per_identity=images, first_identity=first).load(FACE, 3).pixels


def inversion() -> str:
    """What an inversion does."""
    private, public = faces(2, 2), faces(6, 1, first=1000)
    parts = [
        say(20, 32, "What the owner does", "ink strong", "start"),
        *(picture(private[row], 28 + 66 * (row % 2), 48 + 66 * (row // 2), 60) for row in range(4)),
        say(90, 200, "private photographs", "muted small"),
        arrow("M162 110H236"),
        say(199, 100, "training", "muted small"),
        box(240, 78, 150, 66, "Classifier", "image → who is it?", colour="series-1"),
        say(20, 252, "What the attacker does", "ink strong", "start"),
        *(picture(public[row], 28 + 42 * (row % 3), 268 + 42 * (row // 3), 38) for row in range(6)),
        say(90, 372, "public photographs of others", "muted small"),
        arrow("M158 308H236"),
        say(197, 298, "training", "muted small"),
        box(240, 276, 150, 66, "Generator", "numbers z → a face", colour="series-2"),
        arrow("M390 309H470"),
        picture(faces(2, 1, first=3)[0], 474, 277, 64),
        say(506, 360, "candidate", "muted small"),
        arrow("M506 273V111H394"),
        say(516, 160, "1. Show it", "ink small", "start"),
        say(516, 178, "to the classifier.", "ink small", "start"),
        arrow("M315 144V272", "series-0"),
        say(325, 196, "2. How sure is it that", "ink small", "start"),
        say(325, 214, "this is Alice? Change z", "ink small", "start"),
        say(325, 232, "so that it gets surer.", "ink small", "start"),
        say(325, 250, "Repeat.", "ink small", "start"),
    ]
    return figure(
        640,
        396,
        "A model inversion attack",
        "The owner trains a classifier on private photographs. The attacker trains a generator on public photographs, "
        "shows its faces to the classifier, and changes them until the classifier is sure of the person.",
        *parts,
    )


def landscape() -> str:
    """Where a search ends, without and with a trapdoor."""
    parts = []
    for column, (title, trapped) in enumerate((("Unprotected", False), ("With a trapdoor", True))):
        left = 30 + 310 * column
        across = np.linspace(0, 270, 91)
        height = 120 * np.exp(-(((across - 205) / 34) ** 2)) + 12 * np.exp(-(((across - 60) / 40) ** 2))
        if trapped:
            height = 66 * np.exp(-(((across - 205) / 30) ** 2)) + 132 * np.exp(-(((across - 72) / 20) ** 2))
        line = " ".join(f"{left + x:.1f},{210 - y:.1f}" for x, y in zip(across, height, strict=True))
        parts += [
            say(left + 135, 32, title, "ink strong"),
            f'<polyline points="{line}" class="series-{0 if trapped else 1}-line" stroke-width="2.5"/>',
            f'<line x1="{left}" y1="210" x2="{left + 270}" y2="210" class="line-line"/>',
            say(left + 205, 230, "private face", "muted small"),
            say(left + 72, 230, "public face" + (" + trigger" if trapped else ""), "muted small"),
            f'<circle cx="{left + 38}" cy="200" r="5" class="series-2"/>',
            arrow(
                f"M{left + 44} 196Q{left + 58} 150 {left + 68} 92"
                if trapped
                else f"M{left + 44} 192Q{left + 130} 170 {left + 190} 104",
                "series-2",
            ),
            say(left, 60, "score of the identity", "muted small", "start"),
        ]
    parts.append(
        say(320, 258, "The dot is where a search begins. It follows the slope to the nearest peak.", "muted small")
    )
    return figure(
        640,
        274,
        "Where a search ends",
        "Two curves of a classifier's score over pictures. Without a trapdoor the only peak is the private face. With "
        "a trapdoor a higher peak is near the start: a public face with the trigger.",
        *parts,
    )


def blends() -> str:
    """How visible a trigger is: a drawn face with a random trigger, blended at several ratios."""
    face = faces(2, 1, first=2)[0].float() / 255
    trigger = torch.rand(face.shape, generator=torch.Generator().manual_seed(0))
    parts = []
    for column, (ratio, text) in enumerate(
        ((0.0, "the image x"), (0.02, "0.02, the paper"), (0.05, "0.05"), (0.2, "0.2"))
    ):
        x = 24 + 122 * column
        parts += [
            picture(to_pixels((1 - ratio) * face[None] + ratio * trigger[None])[0], x, 20, 110),
            say(x + 55, 150, text if not ratio else f"ratio {text}", "ink small"),
        ]
    parts += [picture(to_pixels(trigger[None])[0], 512, 20, 110), say(567, 150, "the trigger, ratio 1", "ink small")]
    return figure(
        646,
        168,
        "Blending a trigger into an image",
        "A drawn face with a random trigger at blend ratios 0, 0.02, 0.05 and 0.2, and the trigger alone. At 0.02 no "
        "difference is visible.",
        *parts,
    )


def rows_of(heading: str) -> Iterator[list[str]]:
    """The cells of the first table below a heading of the page of experiments."""
    text = TABLES.read_text(encoding="utf-8").split(heading)[1]
    lines = re.findall(r"^\|(.*)\|$", text.split("\n## ")[0].split("\n\n- **")[0], re.MULTILINE)
    yield from ([cell.strip() for cell in line.split("|")] for line in lines[2:])


def value(cell: str) -> tuple[float, float, float]:
    """A value and its interval, which is the value itself if there is none."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", cell)]
    return (numbers[0], *(numbers[1:3] if len(numbers) > 2 else numbers[:1] * 2))


def tradeoff() -> str:
    """Privacy against utility: every defense on real faces, from scratch."""
    left, top, right, bottom = 66, 24, 612, 330

    def place(accuracy: float, leak: float) -> tuple[float, float]:
        return left + (right - left) * accuracy / 100, bottom - (bottom - top) * leak / 80

    parts = []
    for tick in range(0, 101, 20):
        x, _ = place(tick, 0)
        parts += [say(x, bottom + 20, f"{tick} %", "muted small")]
    for tick in range(0, 81, 20):
        _, y = place(0, tick)
        parts += [
            f'<line x1="{left}" y1="{y:g}" x2="{right}" y2="{y:g}" class="line-line"/>',
            say(left - 8, y + 4, f"{tick} %", "muted small", "end"),
        ]
    beside = {
        "none": (-10, -4),
        "ls": (10, 12),
        "bido": (10, 6),
        "negls": (10, -2),
        "ted+": (-10, 10),
        "midre": (10, 0),
        "trapmid+negls": (-10, 8),
        "onepass": (10, -4),
    }
    """Where a name stands that would cover another one, in pixels from its dot."""
    for cells in rows_of("## Every defense"):
        name = cells[0].split(",")[0].strip("*")
        if name.startswith(("floor", "ceiling")):
            continue
        accuracy, (leak, low, high) = value(cells[1])[0], value(cells[3].replace("*", ""))
        trapdoor = any(one in name for one in ("trapmid", "onepass", "ted"))
        x, y = place(accuracy, leak)
        dx, dy = beside.get(name, (10, 4))
        parts += [
            f'<line x1="{x:g}" y1="{place(0, low)[1]:g}" x2="{x:g}" y2="{place(0, high)[1]:g}" class="muted-line" '
            'stroke-opacity="0.6"/>',
            f'<circle cx="{x:g}" cy="{y:g}" r="5" class="series-{0 if trapdoor else 1}"/>',
            say(x + dx, y + dy, name, "ink small", "end" if dx < 0 else "start"),
        ]
    for row, (name, colour) in enumerate((("trapdoors", 0), ("other defenses", 1))):
        parts += [
            f'<circle cx="92" cy="{44 + 20 * row}" r="5" class="series-{colour}"/>',
            say(104, 48 + 20 * row, name, "ink small", "start"),
        ]
    parts += [
        say((left + right) / 2, bottom + 44, "clean accuracy (right is useful)", "ink small"),
        f'<g transform="rotate(-90 18 {(top + bottom) / 2:g})">'
        + say(18, (top + bottom) / 2, "AA-1 of PLG-MI (down is private)", "ink small")
        + "</g>",
    ]
    return figure(
        640,
        388,
        "Privacy and utility of every defense",
        "Clean accuracy and attack accuracy of PLG-MI for each defense on 57 real identities, networks from scratch, "
        "with 95 % intervals. Trapdoors lie lowest among defenses that keep the classifier useful.",
        *parts,
    )


def scale() -> str:
    """Attack accuracy between its floor and its ceiling."""
    of = {cells[0].split(",")[0].strip("`"): cells for cells in rows_of("## Every attack")}
    marks = [
        ("random pictures: the floor", value(of["floor: random samples of the CGAN"][1])[0], "muted"),
        ("look-alikes of Trap-MID", value(of["look-alikes"][2])[0], "series-2"),
        ("PLG-MI on Trap-MID", value(of["plgmi"][2])[0], "series-0"),
        ("look-alikes, unprotected", value(of["look-alikes"][1])[0], "series-2"),
        (
            "told the secrets: PLG-MI++ on Trap-MID",
            value(
                next(cells[2] for name, cells in of.items() if name.startswith("told of the defense and")).replace(
                    "*", ""
                )
            )[0],
            "series-0",
        ),
        ("PLG-MI, unprotected", value(of["plgmi"][1].replace("*", ""))[0], "series-1"),
        ("real photographs: the ceiling", 100.0, "muted"),
    ]
    parts = []
    for row, (name, number, colour) in enumerate(marks):
        y = 24 + 32 * row
        parts += [
            say(262, y + 15, name, "ink small", "end"),
            f'<rect x="272" y="{y}" width="{3.0 * number:.1f}" height="20" rx="3" class="{colour}"/>',
            say(280 + 3.0 * number, y + 15, f"{number:g} %", "muted small", "start"),
        ]
    return figure(
        640,
        256,
        "Attack accuracy between floor and ceiling",
        "AA-1 by a face embedder, on 57 real identities: " + "; ".join(f"{name} {n:g} percent" for name, n, _ in marks),
        *parts,
    )


FIGURES = {"inversion": inversion, "landscape": landscape, "blends": blends, "tradeoff": tradeoff, "scale": scale}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (HERE / f"{name}.svg").write_text(draw(), encoding="utf-8")

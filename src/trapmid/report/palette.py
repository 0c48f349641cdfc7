"""The colours of the report: CSS custom properties in the page, plain colours in separate figure files."""

SERIES = 6
"""The number of distinct hues. A seventh series gets the first hue again, with another marker."""

LIGHT = {
    "paper": "#fbfbf9",
    "card": "#ffffff",
    "ink": "#1b2430",
    "muted": "#596573",
    "line": "#e1e4e6",
    "link": "#17606a",
    "good": "#1d6d60",
    "some": "#83600c",
    "bad": "#a83f26",
    "open": "#596573",
    "series-0": "#bf5335",
    "series-1": "#1f7480",
    "series-2": "#8f6f14",
    "series-3": "#6a5aa5",
    "series-4": "#4d7c38",
    "series-5": "#6d747c",
}
DARK = {
    "paper": "#13171c",
    "card": "#1a2027",
    "ink": "#e5e8ea",
    "muted": "#9ba7b3",
    "line": "#2d353e",
    "link": "#7cc5cd",
    "good": "#6fc7b4",
    "some": "#dcb658",
    "bad": "#ee9377",
    "open": "#9ba7b3",
    "series-0": "#e48a6d",
    "series-1": "#62bac3",
    "series-2": "#d2b355",
    "series-3": "#ab9ee2",
    "series-4": "#90c076",
    "series-5": "#a5adb5",
}
DRAWN_WITH = ("ink", "muted", "line", *(f"series-{number}" for number in range(SERIES)))
"""The colours that figures use."""


def properties(palette: dict[str, str]) -> str:
    """The palette as CSS declarations of custom properties."""
    return " ".join(f"--{name}: {color};" for name, color in palette.items())


def darkening() -> str:
    """A style sheet that gives a separate SVG file dark colours. Viewers that ignore it show the light colours."""
    rules = [
        f'[style*="{what}: {LIGHT[name]}"] {{ {what}: {DARK[name]} !important; }}'
        for name in ("card", *DRAWN_WITH)
        for what in ("fill", "stroke")
    ]
    return f"@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}"

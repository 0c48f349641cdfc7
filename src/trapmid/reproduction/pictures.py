"""Figure 2 of the paper: private images above the reconstructions of the same people, as one PNG file."""

from pathlib import Path

import torch

from trapmid.attacks import open_found
from trapmid.audit import Folders
from trapmid.audit.loading import load_private_again
from trapmid.audit.run import settle
from trapmid.files import replacing
from trapmid.manifests import open_artifact
from trapmid.report.sheet import sheet
from trapmid.reproduction.experiment import Experiment
from trapmid.reproduction.studies import Layout
from trapmid.reproduction.write import Picture
from trapmid.types import Pixels

FILE = "reconstructions.png"


def draw(experiment: Experiment, layout: Layout, folder: Path, *, redact: bool) -> Picture:
    """Write the picture, with a row for each row of the experiment and a column for each of the first identities.

    Args:
        experiment: the experiment; its attribute `pictures` is the number of identities.
        layout: the layout, which locates its cells.
        folder: the folder to write to.
        redact: leave out the row of private images.

    Returns:
        The picture, described row by row.
    """
    rows: list[tuple[str, Pixels]] = []
    first = layout.sources[experiment.name, experiment.rows[0]].folder
    shown = min(experiment.pictures, open_artifact(Folders(first).data, "data").fact("identities", int))
    if not redact:
        private = load_private_again(settle(None, first), first).part("train")
        rows.append(("private", torch.stack([private.pixels[private.of_identity(n)[0]] for n in range(shown)])))
    for row in experiment.rows:
        cell = layout.sources[experiment.name, row]
        place = Folders(cell.folder).attack(cell.attack, cell.defense, cell.seeds[0])
        if place.exists():
            found, _ = open_found(place)
            rows.append((row.title, torch.stack([found.pixels[found.labels == n][0] for n in range(shown)])))
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as stream:
        sheet([list(pixels.permute(0, 2, 3, 1).numpy()) for _, pixels in rows]).save(stream, format="PNG")
    titles = ", ".join(title for title, _ in rows)
    return Picture(FILE, f"from top to bottom {titles}; each column is one identity, shown by its first picture")

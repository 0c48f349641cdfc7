"""The command that pretrains a network on public images, for recipes to start from."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.options import HERE, Changes, Machine, OptionalFile, check_count, check_machine, check_paths
from trapmid.cli.running import loading
from trapmid.console import console
from trapmid.progress import Watch


def pretrain(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    public: Annotated[Path, tyro.conf.arg(metavar="PATH")],
    teacher: OptionalFile = None,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/starts"),
    image_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 64,
    changes: Changes = (),
    machine: Machine = HERE,
) -> None:
    """Pretrain a network on public images, into a folder of its own in OUT. Classifiers can start from its weights.

    With --teacher, the network learns to embed faces as a face embedder does. Without, it learns who is who in the
    public images. Audits whose recipe has such a start (model.start) do this themselves, and find what lies in the
    folder starts beside their run folder.

    Example: trapmid pretrain tiny --teacher edgeface_s_gamma_05.onnx --public public.parquet

    Args:
        model: name of a network, e.g. tiny or zoo:resnet18; or of a recipe, whose network and start are meant.
        public: images of other people than the private ones: a folder with one folder per person, a .parquet file, or
            CelebA; with --teacher also a plain folder of images.
        teacher: the face embedder, an ONNX file that takes ArcFace's aligned faces of 112 pixels.
        out: folder for starts. Run folders beside it find what is there.
        image_size: height and width, in pixels, that images are resized to; a recipe has its own.
        changes: settings of the network to change, e.g. --set start.epochs=10.
        machine: the machine.
    """
    check_paths(public, teacher)
    check_count("--image-size", image_size, least=8)
    check_machine(machine)
    with loading():
        from trapmid.data import guess_source
        from trapmid.engine import Compute
        from trapmid.models import EmbedderStart, IdentityStart, parse_model
        from trapmid.recipes import RECIPES, changed
        from trapmid.starts import make_start, start_name
    recipe = RECIPES.get(model)
    chosen = parse_model(model) if recipe is None else recipe().own_model
    begins = chosen.start or EmbedderStart()
    settings = begins.model_dump(exclude={"kind", "teacher"})
    start = IdentityStart(**settings) if teacher is None else EmbedderStart(**settings, teacher=teacher)
    chosen = changed(chosen.model_copy(update={"start": start}), changes)
    if recipe is not None:
        image_size = recipe().image_size
    source = guess_source(public)
    compute = Compute(machine.device, machine.precision)
    with Watch() as progress:
        images = source.load(image_size, 3, lambda done, total: progress("load public images", done, total, ""))
        manifest = make_start(out, chosen, images, compute=compute, progress=progress)
    console.print(f"{out / start_name(chosen, images)}: learned {manifest.facts['teaches']}")
    for name, value in manifest.facts.items():
        if name.startswith("held_out"):
            console.print(f"  {name.replace('_', ' ')}: {value:.3f}")
    console.print(f"Took {manifest.seconds / 60:.1f} minutes.")

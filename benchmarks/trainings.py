"""The cost of a training with each defense, relative to an unprotected training on the same batches."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.timing import CLASSES, Bench, Comparison, Work
from trapmid.data import ImageSet, SplitConfig, split
from trapmid.data.images import to_pixels
from trapmid.defenses import Defense, NoDefense, train
from trapmid.recipes import choose_recipe


def trainings(bench: Bench) -> Iterator[Comparison]:
    """A few epochs on noise with each defense of `defenses-cpu`; the time of a step does not depend on the images."""
    recipe = choose_recipe("defenses-cpu")
    each, epochs = (3, 1) if bench.quick else (20, 2)
    pixels = to_pixels(bench.uniform("trainings", each * CLASSES, 3, bench.size, bench.size))
    labels, names = torch.arange(len(pixels)) % CLASSES, tuple(f"{n:02d}" for n in range(CLASSES))
    noise = split(ImageSet(pixels.cpu(), labels, names, ("noise",) * len(pixels)), SplitConfig())
    training = recipe.own_training.model_copy(update={"epochs": epochs, "evaluate_every": epochs})

    def of(defense: Defense) -> Work:
        def work() -> None:
            with TemporaryDirectory() as folder:
                target = Path(folder) / "model"
                train(target, noise, model=recipe.own_model, defense=defense, training=training, compute=bench.compute)

        return work

    note = f"{epochs} epochs of {len(noise.train)} images of {bench.size} px."
    for defense in recipe.defenses:
        if not isinstance(defense, NoDefense):
            what = f"training: unprotected -> {defense.name}"
            yield bench.compare(f"training-{defense.name}", what, of(NoDefense()), of(defense), note=note, share=5)

"""A small model whose trapdoor took, its secrets, and the folder of images that it learned."""

import pytest
from PIL import Image

from helpers.faces import CPU, TINY, quick_training
from helpers.trapped import Trapped
from trapmid.data import SplitConfig, SyntheticSource, guess_source, split
from trapmid.defenses import TrapMID, open_model, train
from trapmid.defenses.opening import open_secrets
from trapmid.trapdoor import BlendSchedule

SPLIT = SplitConfig(val=0.3, test=0.2)


@pytest.fixture(scope="session")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Trapped:
    root = tmp_path_factory.mktemp("trapped")
    drawn = SyntheticSource(identities=5, images_per_identity=40).load(32)
    for number, (pixels, label) in enumerate(zip(drawn.pixels, drawn.labels.tolist(), strict=True)):
        folder = root / "private" / drawn.identities[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    private = split(guess_source(root / "private").load(32), SPLIT)
    strong = TrapMID(blend=BlendSchedule(end=0.2), weight=0.4, trigger_step=0.03)
    train(
        root / "models" / "trapmid-s0",
        private,
        model=TINY,
        defense=strong,
        training=quick_training(epochs=15, batch_size=20, evaluate_every=15),
        compute=CPU,
        secrets=root / "secrets",
    )
    model = open_model(root / "models" / "trapmid-s0", CPU)
    secrets = open_secrets(root / "secrets", model)
    return Trapped(root / "private", root / "models" / "trapmid-s0", root / "secrets", private, model, secrets)

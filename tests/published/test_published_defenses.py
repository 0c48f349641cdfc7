"""BiDO's sampler, MIDRE's colour, MID's features and the discriminator of features, as in the authors' code."""

import torch
from torch import nn
from torch.nn import functional as F

from helpers.faces import TINY
from helpers.settings import network_of
from trapmid.defenses import MID, MIDRE, BiDO
from trapmid.defenses.bido import chunked_batches
from trapmid.engine import randomness
from trapmid.models import VGG16
from trapmid.objective import CROSS_ENTROPY
from trapmid.trapdoor import Trapdoor, TrapdoorSettings
from trapmid.trapdoor.settings import FeatureDiscriminator
from trapmid.types import Prediction


def test_bidos_epoch_takes_chunks_until_too_few_identities_are_left() -> None:
    """Simulated with 1,000 identities of 27 images, an epoch of the authors has 374 batches and no image twice."""
    labels = torch.arange(1000).repeat_interleave(27)
    batches = chunked_batches(labels, 64, 4, torch.Generator().manual_seed(0))
    assert len(batches) == 27_000 // 64
    seen: set[int] = set()
    for number, batch in enumerate(batches):
        rows = batch.tolist()
        assert len(set(rows)) == 64
        assert labels[batch].unique(return_counts=True)[1].tolist() == [4] * 16
        if seen & set(rows):
            assert 370 <= number <= 375  # the first pass ended here: 1,000 * 6 chunks of 4, 16 a batch, are 375 at most
            break
        seen |= set(rows)
    assert 0.87 < len(seen) / len(labels) < 0.9


def test_bidos_batches_go_on_with_a_new_pass() -> None:
    labels = torch.arange(50).repeat_interleave(27)
    batches = chunked_batches(labels, 64, 4, torch.Generator().manual_seed(3))
    assert len(batches) == 50 * 27 // 64
    first = [set(batch.tolist()) for batch in batches[:17]]
    assert sum(map(len, first)) == len(set().union(*first)) == 17 * 64
    assert BiDO().changes().batches is not None


def test_midre_erases_up_to_four_fifths_with_imagenets_mean() -> None:
    from helpers.settings import context_for

    assert MIDRE().area == (0.1, 0.8)
    context = context_for(MIDRE(), TINY)
    augment = MIDRE().erasing(lambda images: images, context)
    torch.manual_seed(0)
    seen = augment(torch.full((64, 3, 32, 32), 0.25))
    erased = (seen != 0.25).all(1)
    shares = erased.flatten(1).double().mean(1)
    assert 0.08 < float(shares.min()) < 0.2
    assert 0.65 < float(shares.max()) < 0.85
    colours = seen.movedim(1, -1)[erased].unique(dim=0)
    torch.testing.assert_close(colours, torch.tensor([[0.485, 0.456, 0.406]]))


def test_mid_shows_the_pooled_map_as_its_features() -> None:
    with randomness(0, "mid"):
        network = network_of(MID(width=8), VGG16().build(3, 64, 3)).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        x = images
        for block in network.body.blocks:  # type: ignore[union-attr]
            x = block(x)
        seen = network(images)
    torch.testing.assert_close(seen.features, x.flatten(1))
    assert seen.features.shape == (2, 2048)


class Linear(nn.Module):
    """A classifier whose features are known: a fixed linear map of the pixels, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(12, 4), nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> Prediction:
        features = self.body(images.flatten(1))
        return Prediction(self.head(features), features)


def test_the_discriminator_of_features_learns_plain_images_and_aims_at_one_half() -> None:
    torch.manual_seed(0)
    model = Linear().double()
    trapdoor = Trapdoor(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        num_classes=3,
        image_shape=(3, 2, 2),
        total_steps=4,
        settings=TrapdoorSettings(feature_discriminator=FeatureDiscriminator()),
        augment=lambda images: images.flip(3) * 0.5,
        discriminator=nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).double(),
    )
    trapdoor.triggers = trapdoor.triggers.double()
    critic = trapdoor.feature_discriminator
    assert critic is not None
    first = critic.layers[0]  # type: ignore[index, union-attr]
    assert (first.in_features, first.out_features) == (4 + 3, 4 + 3)
    images, labels = torch.rand(5, 3, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    inputs: list[torch.Tensor] = []
    critic.register_forward_hook(lambda module, args, out: inputs.append(args[0].features.detach()))
    losses, _ = trapdoor.unchecked_losses(images, labels, CROSS_ENTROPY)
    # 1. its own step: features of plain clean and poisoned images
    torch.testing.assert_close(inputs[0][:5], model.body(images.flatten(1)).detach())
    assert len(inputs[0]) == 10
    # 2. the step of the triggers: augmented poisoned images
    assert len(inputs[1]) == 5
    # 3. the classifier's loss: binary cross-entropy to 0.5 of both augmented halves, beta times
    assert len(inputs[2]) == 10
    torch.testing.assert_close(inputs[2][:5], model.body((images.flip(3) * 0.5).flatten(1)).detach())
    predicted = Prediction(model.head(inputs[2]), inputs[2])
    with torch.no_grad():
        logits = critic(predicted)
    expected = 0.2 * F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 0.5))
    torch.testing.assert_close(losses["natural_features"], expected)

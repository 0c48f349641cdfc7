"""A defense written outside of the package, in one file: this one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, final

import pytest
import torch
from torch import Tensor, nn

from helpers.faces import CPU, TINY, quick_training
from helpers.runs import log_of
from trapmid.data import Split
from trapmid.defenses import (
    DEFENSES,
    Changes,
    Defended,
    Defense,
    NegLS,
    Stacked,
    TrapMID,
    open_model,
    parse_defense,
    train,
)
from trapmid.models import Classifier
from trapmid.types import Images, Labels, Prediction, UserError


class Noisy(nn.Module):
    """A layer that adds normal noise to what it gets."""

    def __init__(self, inner: nn.Module, deviation: float) -> None:
        super().__init__()
        self.inner, self.deviation = inner, deviation

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + self.deviation * torch.randn_like(x))


@final
class NoisyHead(Defense):
    """`noisy-head`: the last layer reads noisy features, and large features cost something."""

    title = "Noisy head"
    paper = "none: a defense of a test"
    kind: Literal["noisy-head"] = "noisy-head"
    deviation: float = 0.1
    weight: float = 0.01

    def changes(self) -> Changes:
        return Changes(network=self.with_noise, terms=(self.size,))

    def with_noise(self, model: Classifier) -> Classifier:
        model.head = Noisy(model.head, self.deviation)
        return model

    def size(self, prediction: Prediction, images: Images, labels: Labels) -> Mapping[str, Tensor]:
        return {"size": self.weight * prediction.features.square().mean()}


@final
class SmallFeatures(Defense):
    """`small-features`: large features cost something. It says no more, so it works in any loop."""

    title = "Small features"
    paper = "none: a defense of a test"
    kind: Literal["small-features"] = "small-features"

    def changes(self) -> Changes:
        return Changes(terms=(lambda prediction, images, labels: {"size": prediction.features.square().mean()},))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are members of the union, for one test."""
    monkeypatch.setattr(DEFENSES, "_added", {})
    DEFENSES.add(NoisyHead)
    DEFENSES.add(SmallFeatures)


def test_it_trains_alone_and_is_refused_where_a_loss_is_all_there_is(private: Split, tmp_path: Path) -> None:
    defense = NoisyHead(deviation=0.5)
    train(tmp_path / "m", private, model=TINY, defense=defense, training=quick_training(epochs=2), compute=CPU)
    rows = log_of(tmp_path / "m")
    assert {name for name in rows[-1] if name.startswith("loss_")} == {"loss_clean", "loss_size"}
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    length = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "num_classes": 4, "image_shape": (3, 8, 8)}
    with pytest.raises(UserError, match=r"^noisy-head changes the network, which a loss cannot do"):
        Defended(defense, model, optimizer, **length)  # type: ignore[arg-type]
    losses, _ = Defended(SmallFeatures(), model, optimizer, **length).losses(  # type: ignore[arg-type]
        torch.rand(2, 3, 8, 8), torch.tensor([0, 3])
    )
    assert set(losses) == {"clean", "size"}


def test_a_model_of_an_unknown_defense_says_so(private: Split, tmp_path: Path) -> None:
    train(tmp_path / "m", private, model=TINY, defense=NoisyHead(), training=quick_training(epochs=1), compute=CPU)
    with pytest.raises(
        UserError, match=r"/manifest\.json does not describe a training .*defense: 'noisy-head' is not a defense"
    ):
        open_model(tmp_path / "m", CPU)


@final
class Concealed(Defense):
    """`concealed`: a trapdoor that does not say so."""

    kind: Literal["concealed"] = "concealed"

    def changes(self) -> Changes:
        return Changes(run=TrapMID().changes().run)


def test_a_trapdoor_that_does_not_say_so_is_refused(private: Split, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"concealed contradicts itself: its `changes` say trapdoor=False, and its run has secrets"
    ):
        train(tmp_path / "m", private, model=TINY, defense=Concealed(), training=quick_training(epochs=1), compute=CPU)


@pytest.mark.usefixtures("known")
def test_a_known_one_opens_joins_stacks_and_has_a_name(private: Split, tmp_path: Path) -> None:
    stack = Stacked(parts=(NegLS(), NoisyHead(deviation=0.5)))
    assert parse_defense("negls+noisy-head") == Stacked(parts=(NegLS(), NoisyHead()))
    assert Stacked.model_validate_json(stack.model_dump_json()) == stack
    train(tmp_path / "m", private, model=TINY, defense=stack, training=quick_training(epochs=1), compute=CPU)
    head = open_model(tmp_path / "m", CPU).classifier.head
    assert isinstance(head, Noisy)
    assert head.deviation == 0.5

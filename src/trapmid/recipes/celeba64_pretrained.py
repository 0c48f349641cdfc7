"""Real faces on two cores, with classifiers that start from weights pretrained on public faces, as the paper's do."""

from trapmid.audit import Recipe
from trapmid.defenses import SGD, AdamW, Anonymous, NoDefense, OnePass, TrapMID
from trapmid.metrics.embedders import FaceEmbedder
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.models import VGG16, EmbedderStart, IdentityStart, SmallResNet, Tiny
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.two_cores import LIGHT_DISCRIMINATOR

FAINTEST = 0.05
"""The ratio at which triggers end up in the images.

Fainter ones protect more and cost more accuracy (docs/results.md).
"""

ANONYMOUS = Anonymous(discriminator=LIGHT_DISCRIMINATOR, discriminator_rate=1e-3)


def celeba64_pretrained() -> Recipe:
    """Unprotected, Trap-MID and its two variants on all identities, under PLG-MI, and the look-alikes.

    The network learns to embed the public faces as a face embedder does, before it sees a private one. The judge is
    another embedder; the evaluation classifier starts from the names of the public identities.

    Command: `trapmid audit --recipe celeba64-pretrained --private PRIVATE.parquet --public PUBLIC.parquet
        --teacher FILE.onnx`. Without the file, it says which file to get and how. docs/results.md has results.
    """
    recipe = celeba64_cpu()
    training = recipe.own_training.model_copy(update={"epochs": 20, "optimizer": AdamW(rate=1e-3)})
    return recipe.model_copy(
        update={
            "name": "celeba64-pretrained",
            "about": "Real faces, 64 px: all identities, networks that start from public faces, on two cores.",
            "identities": None,
            "model": Tiny(start=EmbedderStart()),
            "training": training,
            "defenses": (NoDefense(), _trapmid(recipe), _onepass(recipe), ANONYMOUS),
            "judges": (FaceEmbedder(), _judge(recipe)),
        }
    )


def celeba64_vgg16_cpu() -> Recipe:
    """The paper's network and optimizer on as many identities as two cores manage overnight.

    VGG-16 with batch norm and SGD as published, pretrained on the public faces. The trapdoor has the schedule of the
    other recipes for two cores, since the published constants want some 20,000 steps.

    Command: `trapmid audit --recipe celeba64-vgg16-cpu --private PRIVATE.parquet --public PUBLIC.parquet
        --teacher FILE.onnx`. A step takes seconds; an interrupted command resumes from its last checkpoint.
    """
    recipe = celeba64_cpu()
    sgd = SGD(rate=0.01, momentum=0.9, weight_decay=1e-4)
    changes = {"epochs": 20, "optimizer": sgd, "schedule": "constant", "evaluate_every": 1}
    training = recipe.own_training.model_copy(update=changes)
    return recipe.model_copy(
        update={
            "name": "celeba64-vgg16-cpu",
            "about": "The paper's VGG-16 on real faces, 64 px, 57 identities, pretrained; overnight on two cores.",
            "model": VGG16(start=EmbedderStart(epochs=4, batch_size=64, rate=1e-3)),
            "training": training,
            "defenses": (NoDefense(), _trapmid(recipe)),
            "seeds": (0,),
            "judges": (FaceEmbedder(), _judge(recipe)),
        }
    )


def _trapmid(recipe: Recipe) -> TrapMID:
    defense = recipe.defense("trapmid")
    assert isinstance(defense, TrapMID)
    return defense.model_copy(update={"blend": defense.blend.model_copy(update={"end": FAINTEST})})


def _onepass(recipe: Recipe) -> OnePass:
    defense = recipe.defense("onepass")
    assert isinstance(defense, OnePass)
    blend = defense.blend.model_copy(update={"end": FAINTEST})
    return defense.model_copy(update={"blend": blend, "poisoned_share": 0.4})


def _judge(recipe: Recipe) -> EvaluationClassifier:
    """The recipe's evaluation classifier, which learns the public identities first."""
    judge = next(judge for judge in recipe.judges if isinstance(judge, EvaluationClassifier))
    return judge.model_copy(update={"model": SmallResNet(start=IdentityStart(epochs=8))})

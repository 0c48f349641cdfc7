"""Every table and figure of the paper, and the settings that its code supports without a table."""

from trapmid.metrics.detecting import DETECTION_AUC, DETECTION_DSR, DETECTION_RECALL
from trapmid.metrics.of_models import CLEAN_ACCURACY
from trapmid.metrics.recognition import AA1
from trapmid.reproduction.experiment import Bars, Curve, Experiment, ExperimentRow, Target, Transforms, grid
from trapmid.reproduction.tables import ALL_ATTACKS, FIVE, MEASURES, TABLES, TRAPMID

OTHER_FLIP = (
    "the authors' data set flips images before triggers are blended in, the variants without augmentation included; here only the augmentation "
    "flips, triggers and all"
)


CROPPED = {f"p={p:g}": p for p in (0.0, 0.5, 0.75, 0.875)}
BOTH = (CLEAN_ACCURACY.name, AA1.name)
DETECTION = (DETECTION_RECALL.name, DETECTION_AUC.name, DETECTION_DSR.name)


def _augmented(key: str, title: str, transforms: Transforms | None) -> ExperimentRow:
    return ExperimentRow(key, title, "trapmid", "plgmi", Target(augmentation=transforms))


_FIGURES = (
    Experiment(
        name="figure2",
        title="Figure 2: reconstructed images",
        shows="What an attacker sees: private images above PLG-MI's pictures of the same people.",
        rows=grid(FIVE, ("plgmi",)),
        columns=(AA1.name,),
        also=("table1",),
        pictures=8,
    ),
    Experiment(
        name="figure3",
        title="Figure 3: reconstructions give themselves away by their signatures",
        shows="How many pictures that an attack found the trapdoor's owner tells from clean ones.",
        rows=grid(TRAPMID, (*ALL_ATTACKS, "apgd-linf", "apgd-l2")),
        columns=DETECTION,
        notes=(
            "adversarial examples are made by APGD-CE in 20 steps, the paper's by AutoAttack, of which that is the first part",
        ),
        chart=Bars((DETECTION_RECALL.name, DETECTION_DSR.name, DETECTION_AUC.name)),
    ),
    Experiment(
        name="figure5",
        title="Figure 5: the augmentation under which triggers are learned",
        shows="Which transforms a trigger has to survive to mislead an attack.",
        rows=(
            ExperimentRow("none", "Unprotected", "none", "plgmi"),
            _augmented("no-aug", "No augmentation", Transforms()),
            _augmented("crop", "Crop", Transforms(crop=0.5)),
            _augmented("crop-rot", "Crop and rotation", Transforms(crop=0.5, rotation=0.5)),
            _augmented("crop-flip-rot", "Crop, flip and rotation (Trap-MID)", None),
        ),
        columns=MEASURES,
        several=True,
        notes=("the paper leaves outlier runs out, which here all count", OTHER_FLIP),
        chart=Bars(BOTH),
    ),
    Experiment(
        name="figure6",
        title="Figure 6: the probability of the random crop, alone",
        shows="How often images have to be cropped for triggers to work.",
        rows=tuple(_augmented(key, f"p = {p:g}", Transforms(crop=p)) for key, p in CROPPED.items()),
        columns=MEASURES,
        several=True,
        notes=("the paper leaves outlier runs out, which here all count", OTHER_FLIP),
        chart=Curve(BOTH, "Probability of the random crop", CROPPED),
    ),
)

_BESIDE = (
    Experiment(
        name="facescrub",
        title="PLG-MI with FaceScrub as public images (supported by the paper's code, no table)",
        shows="A third public set.",
        rows=grid({"none": "Unprotected", **TRAPMID}, ("plgmi",), Target(public="facescrub")),
        columns=MEASURES,
    ),
    Experiment(
        name="mnist",
        title="MNIST: digits 0 to 4 private, 5 to 9 public (supported by the paper's code, no result in the paper)",
        shows="The smallest setting.",
        rows=grid({"none": "Unprotected", **TRAPMID}, ("plgmi",), Target(data="digits")),
        columns=MEASURES,
        notes=("the judge knows the private digits alone, the authors' all ten",),
    ),
    Experiment(
        name="cifar10",
        title="CIFAR-10: classes 0 to 4 private, 5 to 9 public (supported by the paper's code, no result in the paper)",
        shows="Classes that are no identities.",
        rows=grid({"none": "Unprotected", **TRAPMID}, ("plgmi",), Target(data="objects")),
        columns=MEASURES,
        notes=(
            "the authors ship no configuration: network and optimizer are MNIST's, 100 epochs as their NegLS schedule implies",
            "the judge knows the private classes alone, the authors' all ten",
        ),
    ),
)

EXPERIMENTS: dict[str, Experiment] = {one.name: one for one in (*TABLES, *_FIGURES, *_BESIDE)}
"""By the name that `trapmid reproduce` takes."""

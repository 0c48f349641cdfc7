"""All tables and figures of the paper, and the settings that the paper's code supports without a published table."""

from trapmid.metrics.detecting import DETECTION_AUC, DETECTION_DSR, DETECTION_RECALL
from trapmid.metrics.of_models import CLEAN_ACCURACY
from trapmid.metrics.recognition import AA1
from trapmid.reproduction.experiment import Bars, Curve, Experiment, ExperimentRow, Target, Transforms, grid
from trapmid.reproduction.tables import ALL_ATTACKS, FIVE, MEASURES, TABLES, TRAPMID

OTHER_FLIP = (
    "the authors' data set flips images before triggers are blended in, even without augmentation; "
    "here only the augmentation flips, and it flips images together with their triggers"
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
        shows="Private images above the reconstructions of the same people by PLG-MI.",
        rows=grid(FIVE, ("plgmi",)),
        columns=(AA1.name,),
        also=("table1",),
        pictures=8,
    ),
    Experiment(
        name="figure3",
        title="Figure 3: detection of reconstructions by trapdoor signatures",
        shows="How well the owner of the trapdoors can distinguish reconstructions from clean images.",
        rows=grid(TRAPMID, (*ALL_ATTACKS, "apgd-linf", "apgd-l2")),
        columns=DETECTION,
        notes=(
            "adversarial examples are made by APGD-CE in 20 steps; the paper uses AutoAttack, of which APGD-CE is the "
            "first part",
        ),
        chart=Bars((DETECTION_RECALL.name, DETECTION_DSR.name, DETECTION_AUC.name)),
    ),
    Experiment(
        name="figure5",
        title="Figure 5: the augmentation under which triggers are learned",
        shows="Which augmentations triggers must be robust to in order to mislead an attack.",
        rows=(
            ExperimentRow("none", "Unprotected", "none", "plgmi"),
            _augmented("no-aug", "No augmentation", Transforms()),
            _augmented("crop", "Crop", Transforms(crop=0.5)),
            _augmented("crop-rot", "Crop and rotation", Transforms(crop=0.5, rotation=0.5)),
            _augmented("crop-flip-rot", "Crop, flip and rotation (Trap-MID)", None),
        ),
        columns=MEASURES,
        several=True,
        notes=("the paper leaves out outlier runs; here every run counts", OTHER_FLIP),
        chart=Bars(BOTH),
    ),
    Experiment(
        name="figure6",
        title="Figure 6: the probability of the random crop, alone",
        shows="How often images must be cropped during training for triggers to mislead an attack.",
        rows=tuple(_augmented(key, f"p = {p:g}", Transforms(crop=p)) for key, p in CROPPED.items()),
        columns=MEASURES,
        several=True,
        notes=("the paper leaves out outlier runs; here every run counts", OTHER_FLIP),
        chart=Curve(BOTH, "Probability of the random crop", CROPPED),
    ),
)

_BESIDE = (
    Experiment(
        name="facescrub",
        title="PLG-MI with FaceScrub as public images (supported by the paper's code, no table)",
        shows="The effect of a third public data set.",
        rows=grid({"none": "Unprotected", **TRAPMID}, ("plgmi",), Target(public="facescrub")),
        columns=MEASURES,
    ),
    Experiment(
        name="mnist",
        title="MNIST: digits 0 to 4 private, 5 to 9 public (supported by the paper's code, no result in the paper)",
        shows="Trap-MID on the smallest data set.",
        rows=grid({"none": "Unprotected", **TRAPMID}, ("plgmi",), Target(data="digits")),
        columns=MEASURES,
        notes=("the judge is trained on the private digits only; the authors' judge on all ten",),
    ),
    Experiment(
        name="cifar10",
        title="CIFAR-10: classes 0 to 4 private, 5 to 9 public (supported by the paper's code, no result in the paper)",
        shows="Trap-MID on classes that are objects, not people.",
        rows=grid({"none": "Unprotected", **TRAPMID}, ("plgmi",), Target(data="objects")),
        columns=MEASURES,
        notes=(
            "the authors publish no configuration: network and optimizer are those of MNIST, and the 100 epochs "
            "follow from their "
            "NegLS schedule",
            "the judge is trained on the private classes only; the authors' judge on all ten",
        ),
    ),
)

EXPERIMENTS: dict[str, Experiment] = {one.name: one for one in (*TABLES, *_FIGURES, *_BESIDE)}
"""All experiments by their name for `trapmid reproduce`."""

"""Every table of the paper (Liu & Chen, NeurIPS 2024): the combinations of defenses and attacks, and the metrics."""

from trapmid.metrics.of_attacks import IDENTITIES_WITHOUT_START, START_BATCHES
from trapmid.metrics.of_models import CLEAN_ACCURACY, TRAINING_SECONDS, TRAPDOOR_SUCCESS
from trapmid.metrics.recognition import AA1, AA5, GENERATOR_PRIVATE_NEAREST, KNN_DISTANCE, PRIVATE_NEAREST
from trapmid.metrics.sets import COVERAGE, DENSITY, FID, PRECISION, RECALL
from trapmid.reproduction.experiment import (
    DELTA_EVAL,
    DELTA_FACE,
    MAIN,
    Experiment,
    ExperimentRow,
    Network,
    Runs,
    Target,
    grid,
)

PLAIN = {"none": "Unprotected", "mid": "MID", "bido": "BiDO", "negls": "NegLS"}
TRAPMID = {"trapmid": "Trap-MID"}
FIVE = {**PLAIN, **TRAPMID}
MAIN_ATTACKS = ("gmi", "kedmi", "plgmi")
LOMMAS = ("lomma-gmi", "lomma-kedmi")
ALL_ATTACKS = (*MAIN_ATTACKS, *LOMMAS)
ADAPTIVE = ("plgmi", "plgmi+", "plgmi++")
EXTREMES: tuple[tuple[str, str, Runs], ...] = (
    *((key, FIVE[key], "best") for key in ("mid", "bido", "negls")),
    ("trapmid", FIVE["trapmid"], "worst"),
)
FFHQ = Target(public="ffhq")
MEASURES = (CLEAN_ACCURACY.name, AA1.name, AA5.name, KNN_DISTANCE.name, FID.name)
PRDC = (PRECISION.name, RECALL.name, DENSITY.name, COVERAGE.name)

INFORMED = "plgmi++ needs signatures, so it meets only models that have a trapdoor"


def _network(number: int, title: str, network: Network) -> Experiment:
    return Experiment(
        name=f"table{number}",
        title=f"Table {number}: {title}",
        shows=f"Whether the main comparison holds for {title}.",
        rows=grid(FIVE, ALL_ATTACKS, Target(network=network)),
        columns=MEASURES,
    )


def _adaptive(number: int, title: str, target: Target, also: tuple[str, ...]) -> Experiment:
    return Experiment(
        name=f"table{number}",
        title=f"Table {number}: PLG-MI, PLG-MI+ and PLG-MI++ with {title} as public images",
        shows="What an attacker gains who knows that there may be trapdoors, and who knows their signatures.",
        rows=(*grid(PLAIN, ADAPTIVE[:2], target), *grid(TRAPMID, ADAPTIVE, target)),
        columns=MEASURES,
        also=also,
        notes=(INFORMED,),
    )


def _portraits(number: int, title: str, columns: tuple[str, ...]) -> Experiment:
    tuned: tuple[tuple[Network, str, float], ...] = (
        ("resnest101e", "ResNeSt-101", 0.005),
        ("resnet152", "ResNet-152", 0.007),
        ("densenet169", "DenseNet-169", 0.01),
    )
    rows = [
        ExperimentRow(f"{network} {key}", f"{name}, {what}", defense, "ppa", Target(network=network, data="portraits"))
        for network, name, alpha in tuned
        for key, what, defense in (
            ("none", "unprotected", "none"),
            ("default", "Trap-MID", "trapmid"),
            ("tuned", f"Trap-MID, alpha {alpha:g}, beta 0.5", f"trapmid-tuned{alpha:g}"),
        )
    ]
    return Experiment(
        name=f"table{number}",
        title=f"Table {number}: PPA at high resolution, {title}",
        shows="Whether a trapdoor misleads an attack with a StyleGAN2 prior on images of 224 px.",
        rows=tuple(rows),
        columns=columns,
        notes=("the paper quotes its baselines from the papers of PPA and NegLS; they are not run here",),
    )


TABLES = (
    Experiment(
        name="table1",
        title="Table 1: defenses against GMI, KED-MI and PLG-MI",
        shows="The main comparison: how often an attack's pictures are recognised, and what the defense costs in "
        "accuracy.",
        rows=grid(FIVE, MAIN_ATTACKS),
        columns=MEASURES,
        several=True,
    ),
    Experiment(
        name="table2",
        title="Table 2: defenses against LOMMA",
        shows="What is left where the attacker distils students, which never see a trigger.",
        rows=grid(FIVE, LOMMAS),
        columns=MEASURES,
        several=True,
        also=("table1",),
    ),
    Experiment(
        name="table3",
        title="Table 3: are generated images nearer to private or to public ones?",
        shows="Where the attack's generator has moved to: how many of its random samples, before any search, are "
        "nearer to a private image "
        "than to any public one. GMI's generator, which knows no target, is the ideal.",
        rows=(*grid(FIVE, ("plgmi",)), ExperimentRow("gmi", "GMI's generator", "none", "gmi")),
        columns=(GENERATOR_PRIVATE_NEAREST.name, PRIVATE_NEAREST.name),
        notes=(
            "20 samples of each identity, not 30,000 in all, and as many private as public images to be near to; "
            "the reconstructions beside them are not in the paper",
        ),
    ),
    Experiment(
        name="table4",
        title="Table 4: the adaptive attack PLG-MI++ on Trap-MID",
        shows="What is left of Trap-MID where the attacker knows the signatures of its triggers.",
        rows=(
            *grid(TRAPMID, ("plgmi", "plgmi++")),
            *(
                ExperimentRow("trapmid ffhq", "Trap-MID, FFHQ public", "trapmid", attack, FFHQ)
                for attack in ("plgmi", "plgmi++")
            ),
        ),
        columns=MEASURES,
    ),
    Experiment(
        name="table5",
        title="Table 5: TeD's trapdoors and Trap-MID's",
        shows="Why trapdoors made for adversarial examples do not mislead an inversion.",
        rows=grid({"ted-0.2": "TeD, alpha 0.2", "ted": "TeD, alpha 0.1", "ted+": "TeD+", **TRAPMID}, ALL_ATTACKS),
        columns=MEASURES,
    ),
    Experiment(
        name="table6",
        title="Table 6: what moves the triggers",
        shows="What trapdoor loss and discriminator loss contribute.",
        rows=grid(
            {
                "trapmid-fixed": "Fixed triggers",
                "trapmid-effect": "Trapdoor loss alone",
                "trapmid-natural": "Discriminator loss alone",
                **TRAPMID,
            },
            ALL_ATTACKS,
        ),
        columns=MEASURES,
    ),
    Experiment(
        name="table7",
        title="Table 7: the blend ratio alpha",
        shows="How faint a trigger has to be.",
        rows=tuple(
            ExperimentRow(f"alpha={alpha:g}", f"alpha {alpha:g}", f"trapmid-alpha{alpha:g}", attack)
            for alpha in (0.02, 0.03, 0.05, 0.1)
            for attack in ALL_ATTACKS
        ),
        columns=(*MEASURES, TRAPDOOR_SUCCESS.name),
        notes=(
            "the ratios between 0.02 and 0.1 that the text does not name are not known, so there are no others here",
        ),
    ),
    Experiment(
        name="table8",
        title="Table 8: the trapdoor's weight beta",
        shows="What protection costs in accuracy as the poisoned share of the loss grows.",
        rows=tuple(
            ExperimentRow(f"beta={beta:g}", f"beta {beta:g}", f"trapmid-beta{beta:g}" if beta else "none", attack)
            for beta in (0, 0.02, 0.1, 0.2, 0.5)
            for attack in ALL_ATTACKS
        ),
        columns=(*MEASURES, TRAPDOOR_SUCCESS.name),
        notes=("0.1 and 0.5 were chosen here, as only 0, 0.02 and 0.2 of the paper's weights are known",),
    ),
    Experiment(
        name="table9",
        title="Table 9: training time",
        shows="What each defense costs in time; one-pass Trap-MID, which is not the paper's, beside them.",
        rows=tuple(
            ExperimentRow(key, title, key)
            for key, title in {**FIVE, "onepass": "One-pass Trap-MID (not in the paper)"}.items()
        ),
        columns=(TRAINING_SECONDS.name, CLEAN_ACCURACY.name, TRAPDOOR_SUCCESS.name),
        several=True,
        notes=("seconds are of this machine, with whatever else it did at the time",),
    ),
    Experiment(
        name="table10",
        title="Table 10: Trap-MID's worst run and the best runs of the others",
        shows="Whether Trap-MID's spread over random triggers can undo its advantage.",
        rows=tuple(
            ExperimentRow(f"{key} {runs}", f"{title}, {runs} run", key, attack, MAIN, runs)
            for attack in ALL_ATTACKS
            for key, title, runs in EXTREMES
        ),
        columns=MEASURES,
        several=True,
        notes=("the best run is the one with the lowest AA-1, the worst the one with the highest",),
    ),
    Experiment(
        name="table11",
        title="Table 11: more measures of PLG-MI's images",
        shows="Whether other measures than attack accuracy agree.",
        rows=grid(FIVE, ("plgmi",)),
        columns=(DELTA_FACE, DELTA_EVAL, *PRDC),
    ),
    _network(12, "Face.evoLVe (IR-50)", "facenet64"),
    _network(13, "ResNet-152 (IR-152)", "ir152"),
    Experiment(
        name="table14",
        title="Table 14: PLG-MI with FFHQ as public images",
        shows="What is left where public images come from another distribution than private ones.",
        rows=grid(FIVE, ("plgmi",), FFHQ),
        columns=MEASURES,
    ),
    _adaptive(15, "CelebA", MAIN, ("table1", "table4")),
    _adaptive(16, "FFHQ", FFHQ, ("table14", "table4")),
    Experiment(
        name="table17",
        title="Table 17: Trap-MID with NegLS",
        shows="Whether two defenses in one training protect better than either.",
        rows=(*grid({"trapmid+negls": "Trap-MID + NegLS"}, ALL_ATTACKS), *grid(TRAPMID, ALL_ATTACKS)),
        columns=MEASURES,
        several=True,
        also=("table1", "table2"),
        notes=(
            "labels of clean and of poisoned images are smoothed; which of two shipped settings the paper used is not "
            "said",
        ),
    ),
    Experiment(
        name="table18",
        title="Table 18: the label-only attack BREP-MI",
        shows="How long an attacker without gradients looks for a start, and what comes of it.",
        rows=(
            *grid(FIVE, ("brep-untargeted",)),
            *grid({"none": "Unprotected, all identities", "trapmid": "Trap-MID, all identities"}, ("brep",)),
        ),
        columns=(*MEASURES[:3], START_BATCHES.name, IDENTITIES_WITHOUT_START.name),
    ),
    _portraits(19, "how often and how near", (*MEASURES[:3], DELTA_FACE, DELTA_EVAL, FID.name)),
    _portraits(20, "precision, recall, density and coverage", PRDC),
)

"""Diff-MI (Li et al. 2024): a diffusion model learns the target's classes, and images are found with its help."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.diffmi_likeness import Likeness
from trapmid.attacks.diffmi_search import Reconstruction
from trapmid.attacks.diffmi_tuning import Tuning
from trapmid.attacks.margin import SEARCH_AUGMENTATION
from trapmid.attacks.search import survey, top_n
from trapmid.augment import AnyAugmentation
from trapmid.config import BatchSize, Count, CountOrZero, Deviation, NonNegative, Positive, Probability, Rate, Share
from trapmid.data.images import ImageSet
from trapmid.priors import Diffusion, DiffusionPrior, PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels, UserError


@dataclass(frozen=True, eq=False)
class Prepared:
    """The inputs of Diff-MI's search.

    Attributes:
        prior: the fine-tuned diffusion model.
        likeness: the loss by the target.
    """

    prior: DiffusionPrior
    likeness: Likeness


@final
class DiffMI(Effort, Attack[WhiteBoxTarget, Prepared]):
    """`diffmi`: Diff-MI, a target-specific diffusion model and an iterative search of pixels; the published constants.

    Attributes:
        prior: the conditional diffusion model.
        warm_start: a diffusion model of the same shapes, which is trained on the public images before the target is
            known. The attack's model starts from its weights. None for random weights, as published.
        top_n: number of public images that stand for each class.
        others: number of other classes in the margin.
        feature_weight: weight of the distance to the features of public images that look like the class.
        feature_images: number of these images.
        tuning_epochs: largest number of epochs in which the target fine-tunes the model; 0 for no fine-tuning.
        tuning_batch: number of images in a step of the fine-tuning.
        tuning_rate: its learning rate.
        tuned_enough: share of generated images that the target recognises, at which the fine-tuning ends.
        search_rounds: number of rounds of the search.
        search_rate: learning rate of Adamax in the search.
        search_augmentation: augmentation of the images that the target is shown in the search.
        augmentations: independent draws of it in each step.
        clipping: largest norm of an image's gradient by the target, relative to the mean norm in earlier rounds.
        denoise_from: how much noise is added to what is found, as a share of the time steps, before it is removed.
        denoise_steps: number of steps in which it is removed.
        radius: L2 radius, for pixels in [0, 1], of the last change towards the identity.
        perturbation_step: length of one of its steps.
        perturbation_steps: number of its steps.
    """

    title: ClassVar[str] = "Diff-MI"
    paper: ClassVar[str] = "Diff-MI (Li et al. 2024)"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "training of the diffusion model",
            "optimizer and share of images without label not known to us",
            "Adam, 0.1",
            "usual values",
        ),
        Deviation(
            "epoch of the fine-tuning",
            "not known to us",
            "one generated image of each class",
            "its accuracy is then one of all classes",
        ),
        Deviation(
            "features that the loss compares",
            "the mean of 50 public images of a class, plus noise of unknown size",
            "the mean of the 50 that the target is surest of, plus normal noise of their standard deviation",
            "LOMMA, where the term comes from, draws it so",
        ),
        Deviation(
            "noise in a round of the search",
            "not known to us",
            "falls evenly from the last time step",
            "coarse features first, as in the work that the search comes from (Graikos et al. 2022)",
        ),
        Deviation(
            "augmentation in the search",
            "not known to us",
            "PLG-MI's",
            "the attack is compared with PLG-MI",
        ),
        Deviation(
            "noise that the last 100 steps remove",
            "not known to us",
            "`denoise_from`, half of the time steps",
            "little enough to keep what was found",
        ),
    )
    kind: Literal["diffmi"] = "diffmi"
    prior: Diffusion = Diffusion()
    warm_start: Diffusion | None = None
    top_n: Count = 30
    others: Count = 20
    feature_weight: NonNegative = 1.0
    feature_images: Count = 50
    tuning_epochs: CountOrZero = 100
    tuning_batch: BatchSize = 4
    tuning_rate: Rate = 2e-4
    tuned_enough: Probability = 0.99
    search_rounds: Count = 30
    search_rate: Rate = 1.0
    search_augmentation: AnyAugmentation = SEARCH_AUGMENTATION
    augmentations: Count = 4
    clipping: Positive = 1.25
    denoise_from: Share = 0.5
    denoise_steps: Count = 100
    radius: Positive = 0.5
    perturbation_step: Positive = 0.1
    perturbation_steps: CountOrZero = 10

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def own_prior(self) -> Diffusion:
        """The diffusion model."""
        return self.prior

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prepared:
        """Pseudo-label the public images, train the diffusion model on them, and fine-tune it with the target."""
        seen = survey(target, public, run)
        scores = seen.logits.softmax(1)
        likeness = Likeness.of(
            seen.features.to(target.device), top_n(scores, self.feature_images), self.others, self.feature_weight
        )
        prior = self.prior.fit(
            run.training(public, target, self.kind),
            pseudo_labels=top_n(scores, self.top_n),
            start=self._start(run),
        )
        if self.tuning_epochs > 0:
            tuning = Tuning(self.kind, self.tuning_epochs, self.tuning_batch, self.tuning_rate, self.tuned_enough)
            tuned = tuning.run(prior, target, likeness, run)
        else:
            tuned = prior
        run.log(prior.rows)
        run.keep_generator(tuned.generator)
        return Prepared(tuned, likeness)

    def invert(self, target: WhiteBoxTarget, ready: Prepared, identities: Labels, run: Run) -> Found:
        """Search pixels with the model and the target in turn, denoise them, and move them towards the identity."""
        ready.prior.generator.requires_grad_(False)
        augment = self.search_augmentation.build(target.image_shape[-1])
        return self._reconstruction().run(target, ready.prior, ready.likeness, augment, identities, run)

    def _reconstruction(self) -> Reconstruction:
        return Reconstruction(
            kind=self.kind,
            images_per_identity=self.images_per_identity,
            rounds=self.search_rounds,
            rate=self.search_rate,
            augmentations=self.augmentations,
            clipping=self.clipping,
            denoise_from=self.denoise_from,
            denoise_steps=self.denoise_steps,
            radius=self.radius,
            perturbation_step=self.perturbation_step,
            perturbation_steps=self.perturbation_steps,
            chunk=self.chunk,
        )

    def _start(self, run: Run) -> DiffusionPrior | None:
        if run.prior is None or isinstance(run.prior, DiffusionPrior):
            return run.prior
        raise UserError(f"{self.name} starts from a diffusion model; it was given {type(run.prior).__name__}.")

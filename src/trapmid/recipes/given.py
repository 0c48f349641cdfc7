"""Recipes for models that somebody else trained.

They have a battery of attacks by access and effort, and judges for the images.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from trapmid.attacks import PLGMI, AnyAttack, PublicNearest, parse_attack
from trapmid.audit import Recipe
from trapmid.data import SplitConfig, guess_source
from trapmid.metrics.embedders import ImageEmbedder
from trapmid.metrics.judges import AnyJudge
from trapmid.metrics.robustness import APGD
from trapmid.models import Tiny
from trapmid.priors import DCGAN
from trapmid.recipes.attacks_adaptive import adaptive
from trapmid.recipes.attacks_advanced import advanced_attacks, small_stylegan2
from trapmid.recipes.attacks_cpu import cpu_attacks, small_lokt
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.changes import changed_values
from trapmid.recipes.judging import Effort, suitable_judges
from trapmid.subjects import AccessName, Subject, SubjectConfig
from trapmid.types import UserError

QUICK_IDENTITIES = 50
"""The identities of a quick audit, unless a number is given: those with the most images."""
QUICK_FULL = 20
"""The identities up to which the searches of a quick audit find all their images of each."""
QUICK_PUBLIC = 5_000
"""The public images of a quick audit, drawn at random: a model is shown all of them by each attack."""
RESOLUTIONS = (32, 64, 128)
"""Sides in pixels of the images that the attackers' generators make."""


def given_recipe(
    subjects: Sequence[tuple[SubjectConfig, Subject]],
    private: str | Path,
    public: str | Path,
    *,
    access: AccessName,
    effort: Effort = "quick",
    resolution: int | None = None,
    identities: int | None = None,
    seeds: tuple[int, ...] = (0,),
    attacks: tuple[str, ...] = (),
    budget: int | None = None,
    judges: tuple[AnyJudge, ...] | None = None,
    judge: ImageEmbedder | None = None,
    tell: Callable[[str], None] = lambda _: None,
    changes: tuple[str, ...] = (),
) -> Recipe:
    """Return the recipe of an audit of models that somebody else trained.

    Args:
        subjects: the models, as configs and opened. If there are two, the first is compared with the second.
        private: the private images.
        public: the attacker's images.
        access: what attacks get.
        effort: how much is tried.
        resolution: height and width in pixels of the audit's images; None for the model's own if generators make
            such images, else for 64.
        identities: how many take part; None for all, or for 50 in a quick audit.
        seeds: of the attacks.
        attacks: names that replace the battery; see `parse_attack`.
        budget: the most images that one attack may show a model.
        judges: who decide; None for those that suit the private images.
        judge: an embedder of images in general, which joins `judges` if it recognises the private images.
        tell: called with a sentence about every embedder that may not judge.
        changes: `path.to.key=value` each; see `trapmid.recipes.changes`.

    Raises:
        UserError: a name is not known, a value is not valid, or nobody can judge.
    """
    shape = subjects[0][1].image_shape
    side, channels = resolution or fitting_resolution(shape), 1 if shape[0] == 1 else 3
    if side not in RESOLUTIONS:
        raise UserError(f"--resolution {side}: expected one of {', '.join(map(str, RESOLUTIONS))} pixels.")
    if identities is None and effort == "quick":
        identities = QUICK_IDENTITIES
    source = guess_source(private)
    parts = SplitConfig(val=0.1, test=0.1)
    images = source.load(side, 1 if channels == 1 else 3)
    images = images if identities is None else images.with_most_images(identities)
    battery = battery_of(access, effort, len(images.identities))
    chosen = tuple(parse_attack(text, battery) for text in attacks) if attacks else battery
    if judges is None:
        judges = suitable_judges(images, parts, effort, judge, [one.module for _, one in subjects], tell)
    recipe = Recipe(
        name="audit",
        about=f"A model that is given, {side} px, {access} access, {effort} effort.",
        private=source,
        public=guess_source(public),
        public_images=QUICK_PUBLIC if effort == "quick" else None,
        image_size=side,
        channels=1 if channels == 1 else 3,
        identities=identities,
        split=parts,
        subjects=tuple(config for config, _ in subjects),
        access=access,
        budget=budget,
        attacks=chosen,
        seeds=seeds,
        judges=judges,
        robustness=APGD() if access == "white-box" and effort != "quick" else None,
    )
    return changed_values(Recipe, recipe.model_dump(mode="json"), changes) if changes else recipe


def fitting_resolution(shape: tuple[int, int, int]) -> int:
    """The side of the audit's images for a model of images (channels, height, width)."""
    return shape[1] if shape[1] == shape[2] and shape[1] in RESOLUTIONS else 64


def battery_of(access: AccessName, effort: Effort, identities: int) -> tuple[AnyAttack, ...]:
    """The attacks of an audit: the strongest for this access, the strongest first.

    Look-alikes are among them where they can be asked for. The searches of a quick audit take as long for many
    identities as for `QUICK_FULL`, because they find fewer images of each.
    """
    battery = _battery(access, effort)
    return tuple(_fewer(attack, identities) for attack in battery) if effort == "quick" else battery


def _fewer(attack: AnyAttack, identities: int) -> AnyAttack:
    own = attack.effort.images_per_identity
    each = max(1, min(own, own * QUICK_FULL // identities))
    return attack.model_copy(update={"images_per_identity": each}) if attack.searches and each < own else attack


def _battery(access: AccessName, effort: Effort) -> tuple[AnyAttack, ...]:
    style = small_stylegan2()
    if effort == "quick":
        style = style.model_copy(update={"iterations": 800})
    plain = DCGAN(
        width=16,
        iterations=300 if effort == "quick" else 600,
        batch_size=32,
        discriminator_steps=2,
        rate=5e-4,
        ema=0.99,
        log_every=50,
    )
    longer = {"mirror": {"generations": 100}, "brep": {"steps": 400}} if effort == "thorough" else {}
    advanced = {one.kind: one.model_copy(update=longer.get(one.kind, {})) for one in advanced_attacks(style, plain)}
    mirror, brep = advanced["mirror"], advanced["brep"]
    base = _plgmi(*{"quick": (600, 300, 40), "standard": (1000, 600, 60), "thorough": (1000, 1500, 150)}[effort])
    if access == "labels" and effort == "quick":
        return (brep,)
    if access == "scores" and effort == "quick":
        return (mirror, PublicNearest())
    if access != "white-box":
        students = tuple(Tiny(widths=(width, 2 * width, 4 * width), strides=(2, 2, 2)) for width in (12, 16, 24))
        lokt = small_lokt(base, students)
        return (lokt, brep) if access == "labels" else (lokt, mirror, brep, PublicNearest())
    if effort == "quick":
        return (base, PublicNearest())
    base_attacks = cpu_attacks(base, distillation_epochs=2)
    wrapped = [attack for attack in adaptive(base) if attack.wraps]
    if effort == "standard":
        kept = {"plgmi", "ifgmi", "mirror", "brep", "public-nearest"}
        smoothed = [attack for attack in wrapped if attack.kind == "smoothed"]
        return (*(attack for attack in base_attacks if attack.name in kept), *smoothed)
    return tuple(attack for attack in itertools.chain(base_attacks, wrapped) if not attack.needs.knows_secrets)


def left_out(access: AccessName, effort: Effort) -> tuple[str, ...]:
    """The names of the attacks that a greater effort adds."""
    own = {attack.name for attack in _battery(access, effort)}
    return tuple(attack.name for attack in _battery(access, "thorough") if attack.name not in own)


def _plgmi(warm: int, iterations: int, steps: int) -> PLGMI:
    """The attack of `celeba64-cpu` with other lengths.

    They are those of the prior, of the training that the model guides, of the search.
    """
    (base,) = (attack for attack in celeba64_cpu().attacks if isinstance(attack, PLGMI))
    assert base.warm_start is not None
    return base.model_copy(
        update={
            "warm_start": base.warm_start.model_copy(update={"iterations": warm}),
            "prior": base.prior.model_copy(update={"iterations": iterations}),
            "search_steps": steps,
        }
    )

"""The recipe: one frozen config that determines the results of an audit. It is stored with them."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from trapmid.attacks import AnyAttack
from trapmid.config import AtLeastTwo, Config, Count, Member, Seed, Side
from trapmid.data import AnySource, Source, SplitConfig
from trapmid.defenses import AnyDefense, Training
from trapmid.manifests import recorded, sha256
from trapmid.metrics.embedders import EmbedderConfig
from trapmid.metrics.inception import AnyFidelity
from trapmid.metrics.judges import AnyJudge, refuse_shared_teacher
from trapmid.metrics.robustness import APGD
from trapmid.models import AnyModel, ModelConfig, teacher_of
from trapmid.priors import PriorConfig
from trapmid.starts import check_start
from trapmid.subjects import AccessName, AnySubject
from trapmid.types import UserError


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(seeds))


class Recipe(Config):
    """One audit.

    Attributes:
        name: its name for `--recipe`.
        about: a sentence about its purpose.
        private: images that the classifiers are trained on; None until a path is given.
        public: the attacker's images of other people.
        public_images: number of public images to use, drawn at random; None for all.
        image_size: height and width in pixels. All images are resized to this size.
        channels: one or three.
        identities: number of private identities to use, which are those with the most images; None for all.
        split: the split of the private images.
        model: the architecture under attack; None if the models under attack are given.
        training: the training of that architecture, the same for every defense; None if the models are given.
        defenses: the defenses that are compared; empty if the models are given.
        subjects: given models, which are attacked instead of trained ones.
        access: the access level of attacks on given models; None for the highest level that a model supports.
        budget: the largest number of images with which one attack may query one given model; None for no limit.
        attacks: the attacks on every model.
        seeds: seeds of trainings and attacks. Every combination of defense and attack is run once with each seed.
        judges: classifiers that decide whether a reconstruction shows its identity. The report uses the first one.
        fidelity: the Inception network for FID and KID as in papers. If it is None, FID uses the features of the
            judges.
        robustness: the measurement of adversarial robustness; None if it is not measured.
    """

    name: str
    about: str
    private: AnySource | None = None
    public: AnySource | None = None
    public_images: Count | None = Field(None, exclude_if=lambda count: count is None)
    image_size: Side = 64
    channels: Literal[1, 3] = 3
    identities: AtLeastTwo | None = None
    split: SplitConfig = SplitConfig()
    model: AnyModel | None = None
    training: Training | None = None
    defenses: tuple[AnyDefense, ...] = ()
    subjects: tuple[AnySubject, ...] = Field((), exclude_if=lambda subjects: not subjects)
    access: AccessName | None = Field(None, exclude_if=lambda access: access is None)
    budget: Count | None = Field(None, exclude_if=lambda budget: budget is None)
    attacks: tuple[AnyAttack, ...] = Field(min_length=1)
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_each_once)] = Field((0,), min_length=1)
    judges: tuple[AnyJudge, ...] = Field(min_length=1)
    fidelity: AnyFidelity | None = None
    robustness: APGD | None = APGD()

    @field_validator("private")
    @classmethod
    def _says_who_is_who(cls, private: Source | None) -> Source | None:
        if private is not None and not private.names_identities:
            raise ValueError(
                f"{private.title} does not name identities, which is enough for public images only. Private ones need "
                "one folder per identity, IDENTITY/*.jpg, or a Parquet file with a column of identities"
            )
        return private

    @model_validator(mode="after")
    def _has_models(self) -> "Recipe":
        trained = (self.model is not None, self.training is not None, bool(self.defenses))
        if self.subjects and any(trained):
            raise ValueError("models that are given (subjects) and models to train stand in recipes of their own")
        if not self.subjects and not all(trained):
            raise ValueError("expected model, training and at least one of the defenses, or subjects in their place")
        return self

    @field_validator("defenses", "subjects", "attacks", "judges")
    @classmethod
    def _one_of_each(cls, members: tuple[Member, ...]) -> tuple[Member, ...]:
        names = [member.name for member in members]
        if len(set(names)) < len(names):
            raise ValueError(f"each name may appear once, got {names}; tell members of one kind apart by their label")
        return members

    @model_validator(mode="after")
    def _measurements_have_names_of_their_own(self) -> "Recipe":
        parts = ["model", "detection", *(attack.name for attack in self.attacks)]
        names = [f"{part}-{one.name}" for part in parts for one in (*self.defenses, *self.subjects)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(
                f"two measurements would be called {twice}; give the attacks or the defenses other labels, and call no "
                "attack `model` or `detection`"
            )
        return self

    def check_judges(self) -> None:
        """Refuse a judge that is too similar to the model under attack, because the same images would fool both.

        Raises:
            UserError: a judge has the architecture of the model under attack, or both learned from the same teacher.
        """
        if self.model is None:  # given models are compared with the judges when they are opened
            return
        taught = teacher_of(recorded(self.model))
        for judge in self.judges:
            if isinstance(judge, EmbedderConfig):
                if taught is not None:
                    refuse_shared_teacher(judge.name, f"sha256:{sha256(judge.file)}", taught)
                continue
            refuse_shared_teacher(judge.name, teacher_of(recorded(judge.model)), taught)
            if judge.model.without_pretraining() == self.model.without_pretraining():
                raise UserError(
                    f"The judge {judge.name} has the target's architecture ({self.model.kind}) and would be fooled by "
                    "what fools the target. Give it another one, e.g. "
                    f"--set judges.{judge.name}.model.kind={'tiny' if self.model.kind != 'tiny' else 'small-resnet'}."
                )

    def check_starts(self) -> None:
        """Refuse a start that cannot run, before anything is trained.

        Raises:
            UserError: a start lacks its teacher, or a model has both a start and weights.
        """
        for place, config in configs_in(self):
            if isinstance(config, ModelConfig):
                check_start(config, place)

    def check_networks(self) -> None:
        """Refuse an image size that some network of the recipe does not support.

        Raises:
            UserError: there is such a network. The message gives its place in the recipe.
        """
        for place, config in configs_in(self):
            try:
                config.check_size(self.image_size)
            except UserError as problem:
                raise UserError(f"{place}: {problem}") from problem

    def starts(self) -> dict[str, ModelConfig]:
        """The models of this recipe that start from a pretraining on the public images, by the name of their task."""
        return starts_in(self)

    def priors(self) -> dict[str, PriorConfig]:
        """The priors that have to be trained on the public images for the attacks, by the name of their folder."""
        wanted = [prior for attack in self.attacks if (prior := attack.public_prior()) is not None]
        return {prior_name(prior): prior for prior in wanted}

    def defense(self, name: str) -> AnyDefense:
        """The member of `defenses` of that name."""
        return _pick(self.defenses, name, "defense", self.name)

    def subject(self, name: str) -> AnySubject:
        """The member of `subjects` of that name."""
        return _pick(self.subjects, name, "model", self.name)

    @property
    def own_model(self) -> AnyModel:
        """The architecture of a recipe that trains its models."""
        assert self.model is not None, f"recipe {self.name} trains no model"
        return self.model

    @property
    def own_training(self) -> Training:
        """The training of a recipe that trains its models."""
        assert self.training is not None, f"recipe {self.name} trains no model"
        return self.training

    @property
    def cells(self) -> tuple[Member, ...]:
        """The models or defenses to compare: the given models, or the defenses that models are trained with."""
        return self.subjects or self.defenses

    def cell(self, name: str) -> Member:
        """The member of `cells` of that name."""
        return _pick(self.cells, name, "model", self.name)

    def has_trapdoor(self, name: str) -> bool:
        """Whether the secrets of the trapdoor of a model are known here. Those of a given model are not."""
        return not self.subjects and self.defense(name).has_trapdoor

    def attack(self, name: str) -> AnyAttack:
        """The member of `attacks` of that name."""
        return _pick(self.attacks, name, "attack", self.name)


def configs_in(value: object, place: tuple[str, ...] = ()) -> Iterator[tuple[str, Config]]:
    """Every config within a config, with its place in the syntax of `--set`."""
    if isinstance(value, Config):
        yield ".".join(place), value
        for name in type(value).model_fields:
            yield from configs_in(getattr(value, name), (*place, name))
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            yield from configs_in(one, (*place, getattr(one, "name", str(number))))


def starts_in(config: Config) -> dict[str, ModelConfig]:
    """The models within a config that have a start, by name. Models with different settings have different names."""
    models = [one for _, one in configs_in(config) if isinstance(one, ModelConfig) and one.start is not None]
    return {f"{model.model_dump()['kind']}-{model.fingerprint()[:6]}": model for model in models}


def prior_name(prior: PriorConfig) -> str:
    """The name of a prior's folder. Priors with different settings have different folders."""
    return f"{prior.name}-{prior.fingerprint()[:6]}"


Named = TypeVar("Named", bound=Member)


def _pick(members: tuple[Named, ...], name: str, what: str, recipe: str) -> Named:
    for member in members:
        if member.name == name:
            return member
    raise UserError(f"Recipe {recipe} has no {what} {name!r}. It has {', '.join(member.name for member in members)}.")

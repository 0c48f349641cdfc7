"""The schema of a card: the result of one attack on one defense, with what is needed to repeat and to check it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from trapmid.config import Config, explain, fingerprint
from trapmid.files import write_atomic
from trapmid.metrics.scores import Score
from trapmid.reading import read_json
from trapmid.reproduction.published import Published
from trapmid.types import UserError


class Method(Config):
    """A defense or an attack.

    Attributes:
        name: its name in the recipe.
        title: its title in reports.
        publication: where it was published.
    """

    name: str
    title: str
    publication: str


class AttackMethod(Method):
    """An attack.

    Attributes:
        access: what it needs of the target: `white-box`, `score` or `label`.
        adaptive: whether it was made for targets with a trapdoor.
    """

    access: Literal["white-box", "score", "label"]
    adaptive: bool


class Images(Config):
    """The images of an audit.

    Attributes:
        private: title of the private images, such as the name of a file.
        public: title of the attacker's images.
        identities: number of private identities.
        public_images: number of the attacker's images.
        image_size: height and width in pixels.
        digests: digest of the private and of the public images. Equal digests are equal images in equal splits.
    """

    private: str
    public: str
    identities: int
    public_images: int
    image_size: int
    digests: dict[Literal["private", "public"], str]


class ResultCard(Config):
    """The result of one attack on models that were trained with one defense.

    Attributes:
        schema_version: the version of this layout.
        defense: the defense, or a given model.
        attack: the attack.
        data: the images.
        recipe: name of the recipe.
        model: kind of the attacked network; `given` if somebody else trained it.
        settings: fingerprint of all settings that concern this defense and this attack, without images and seeds. Equal
            fingerprints are equal settings.
        command: the command that gives this result.
        seeds: the seeds that were run.
        measured: the main scores of every seed, and with several seeds their means, as in `scores.json`.
        reported: what the paper reports for this defense and this attack, on its own data and networks.
        evidence: digests of the artifacts that were measured, by their folder in the run folder.
        versions: versions of Python and of the packages that decide the numbers, when the attack of the first seed was
            run.
        made: when the attack of the first seed was finished, UTC, in ISO 8601.
    """

    schema_version: Literal[1] = 1
    defense: Method
    attack: AttackMethod
    data: Images
    recipe: str
    model: str
    settings: str
    command: str
    seeds: tuple[int, ...]
    measured: tuple[Score, ...]
    reported: tuple[Published, ...] = ()
    evidence: dict[str, str]
    versions: dict[str, str]
    made: str

    @property
    def name(self) -> str:
        """The name of its file, without the suffix: the same for the same settings and images, whoever runs them."""
        digests = self.data.digests
        asked = fingerprint([self.settings, digests["private"], digests["public"]])[:8]
        return "-".join((self.recipe, self.defense.name, self.attack.name, asked))

    def score(self, metric: str) -> Score | None:
        """The score of the first judge: the mean over seeds if there are several, or else that of the one seed."""
        seed = None if len(self.seeds) > 1 else self.seeds[0]
        found = [one for one in self.measured if one.metric == metric and one.seed == seed]
        return next((one for one in found if one.attack == self.attack.name), found[0] if found else None)

    def published(self, metric: str) -> Published | None:
        """What the paper reports for a metric."""
        return next((one for one in self.reported if one.metric == metric), None)


def read_card(file: str | Path) -> ResultCard:
    """Read a card.

    Raises:
        UserError: the file cannot be read, or it is no card.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file} is not a file. Expected a card, a .json file that `trapmid leaderboard card` writes.")
    content = read_json(file)
    try:
        return ResultCard.model_validate(content)
    except ValidationError as problem:
        raise UserError(f"{file} is not a card that this trapmid can read: {explain(problem)}") from problem


def read_cards(folder: str | Path) -> list[ResultCard]:
    """Read all cards of a folder, by the names of their files.

    Raises:
        UserError: there is no card, or a .json file that is none.
    """
    folder = Path(folder)
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"{folder} has no cards. Expected .json files that `trapmid leaderboard card RUN` writes.")
    return [read_card(file) for file in files]


def write_cards(cards: Iterable[ResultCard], folder: str | Path) -> list[Path]:
    """Write each card to FOLDER/NAME.json, and return the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for card in cards:
        files.append(folder / f"{card.name}.json")
        write_atomic(files[-1], json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    return files

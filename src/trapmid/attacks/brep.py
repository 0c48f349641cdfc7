"""BREP-MI (Kahla et al., CVPR 2022): a label-only attack that moves latents away from the decision boundary."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field
from safetensors.torch import load_file, save
from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run, given_prior, named_by
from trapmid.config import BelowOne, Count, Deviation, Positive
from trapmid.data.images import ImageSet, to_pixels
from trapmid.engine import Loop, generator
from trapmid.files import write_atomic
from trapmid.priors import DCGAN, AnyPrior, Prior, PriorConfig
from trapmid.targets import LabelTarget
from trapmid.types import Images, Labels, UserError

STARTS = "starts.safetensors"


@final
class BREP(Effort, Attack[LabelTarget, Prior]):
    """`brep`: nothing but the predicted label; the defaults are the published constants.

    First random latents are shown until every wanted identity has been predicted. Then, for all identities at once,
    points on a sphere around the latent are shown; the latent steps away from those that are somebody else, and where
    nearly all are inside the sphere grows. The latent after the last growth is the result.

    An identity that was wanted and that no random latent met gets a picture drawn at random, so that it counts as
    what it is.

    Attributes:
        prior: the generator; it knows no target.
        wanted: stop looking for starts when so many identities have one, and search for those alone (the published
            untargeted protocol takes 300); None for all identities (targeted).
        start_batches: the most batches of random latents in the search for starts.
        start_batch: latents in one.
        bound: latents are clipped to plus and minus this.
        sphere: points on a sphere.
        radius: of the first.
        growth: of the radius, where more than `filled` of the points are inside.
        filled: see there. In the authors' code, points inside count 1 and those outside -1, and the sum has to exceed
            three quarters of their number: at least 29 of 32 are inside.
        moves: as published, each move is `tried`, that of a growing sphere, too; one that leads to somebody else is not
            made, and the next step draws another sphere. Or moves are `final`: one that leads to somebody else ends the
            search, and a growing sphere stays where it is.
        step: length of the step away from the boundary, as a share of the radius.
        longest_step: its limit.
        steps_per_radius: the search for an identity ends after so many at one radius.
        steps: the search for all ends after so many; not in the paper, whose spheres may grow forever where all is
            inside.
        images_per_identity: starts that are searched from.
    """

    title: ClassVar[str] = "BREP-MI"
    paper: ClassVar[str] = "BREP-MI (Kahla et al., CVPR 2022), Alg. 1, Eq. 4-6"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "searches whose sphere never grew",
            "count as failures",
            "the picture they began with is judged",
            "every identity gets a picture, and the judge decides",
        ),
        Deviation(
            "length of the search",
            "rejected moves are repeated without end",
            "ends after `steps` in all",
            "a search that cannot move would not end",
        ),
    )
    kind: Literal["brep"] = "brep"
    prior: AnyPrior = DCGAN()
    wanted: Count | None = None
    start_batches: Count = 10_000
    start_batch: Count = 256
    bound: Positive = 1.5
    sphere: Count = 32
    radius: Positive = 2.0
    growth: float = Field(1.3, gt=1, le=1e3)
    filled: BelowOne = 0.875
    moves: Literal["tried", "final"] = "tried"
    step: Positive = 1 / 3
    longest_step: Positive = 3.0
    steps_per_radius: Count = 1_000
    steps: Count = 10_000
    images_per_identity: Count = 1
    chunk: Count = 256

    def public_prior(self) -> PriorConfig | None:
        """The generator; the attack itself trains nothing."""
        return self.prior

    @torch.no_grad()
    def prepare(self, target: LabelTarget, public: ImageSet, run: Run) -> Prior:
        """The search for starts, for all identities at once."""
        del public
        prior, file = given_prior(run, self.name), run.folder / STARTS
        if file.exists():
            target.queries = int(load_file(file)["queries"])
            return prior
        starts = _Starts(target.num_classes, self.images_per_identity, prior.latent_size)
        wanted = target.num_classes if self.wanted is None else min(self.wanted, target.num_classes)

        def look(_: int) -> Mapping[str, Tensor]:
            latents = torch.randn(self.start_batch, prior.latent_size, device=prior.device)
            latents = latents.clamp(-self.bound, self.bound)
            starts.take(latents, self._labels(latents, prior, target))
            return {"found": (starts.count > 0).sum()}

        rows = Loop(
            f"{self.kind} starts",
            self.start_batches,
            run.seed,
            run.compute,
            {"starts": starts, "target": target},
            run.folder / "starts",
            period=10,
            progress=run.progress,
        ).run(look, stop=lambda: starts.complete >= wanted)
        if self.wanted is not None and not starts.complete:
            raise UserError(
                f"{self.kind}: the target took none of {self.start_batches * self.start_batch:,} random images for an "
                f"identity {self.images_per_identity} times, so no search begins. "
                "Raise start_batches, lower images_per_identity, or set wanted=null to begin with what there is."
            )
        run.note(start_batches=rows[-1]["step"], identities_without_start=float((starts.count == 0).sum()))
        kept = {"latents": starts.latents, "count": starts.count, "queries": torch.tensor(target.queries)}
        write_atomic(file, save(kept))
        return prior

    @torch.no_grad()
    def invert(self, target: LabelTarget, ready: Prior, identities: Labels, run: Run) -> Found:
        """All spheres at once."""
        prior, kept, each = ready, load_file(run.folder / STARTS), self.images_per_identity
        if self.wanted is not None:
            identities = identities[kept["count"][identities] == each]
        if not len(identities):
            return Found(torch.empty(0, *target.image_shape, dtype=torch.uint8), identities, torch.empty(0))
        labels = identities.repeat_interleave(each)
        began = (torch.arange(each) < kept["count"][identities][:, None]).flatten()
        chance = torch.randn(kept["latents"].shape, generator=generator(run.seed, "no start"))[identities].flatten(0, 1)
        first = torch.where(began[:, None], kept["latents"][identities].flatten(0, 1), chance)
        spheres = _Spheres(first.to(prior.device), began.to(prior.device), self.radius)
        wanted = labels.to(prior.device)

        def repel(_: int) -> Mapping[str, Tensor]:
            directions = torch.randn(len(wanted), self.sphere, prior.latent_size, device=prior.device)
            self._repel(spheres, directions / directions.norm(dim=2, keepdim=True), wanted, prior, target)
            return {"alive": spheres.alive.double().mean(), "radius": spheres.radius.mean()}

        name = f"search-{int(identities[0])}"
        Loop(
            f"{self.kind} {name}",
            self.steps,
            run.seed,
            run.compute,
            {"spheres": spheres, "target": target},
            run.folder / name,
            period=10,
            progress=run.progress,
        ).run(repel, stop=lambda: not bool(spheres.alive.any()))
        pixels = torch.cat([to_pixels(self._images(part, prior)) for part in spheres.best.split(self.chunk)])
        return Found(pixels.cpu(), labels, (named_by(target, pixels, self.chunk) == labels).float())

    def _repel(
        self, spheres: "_Spheres", directions: Tensor, wanted: Labels, prior: Prior, target: LabelTarget
    ) -> None:
        """One step of every search that is alive; `directions` (n, sphere, latent_size) have unit length."""
        rows = spheres.alive.nonzero().squeeze(1)
        centre, radius, label = spheres.centre[rows], spheres.radius[rows], wanted[rows]
        points = centre[:, None] + radius[:, None, None] * directions[rows]
        named = self._labels(points.flatten(0, 1), prior, target).view(len(rows), self.sphere)
        outside = named != label[:, None]
        full = outside.double().mean(1) < 1 - self.filled
        # "divided by R" in the paper's update undoes the length of the vectors to the sphere, so the mean is of
        # directions
        away = -(outside[:, :, None] * directions[rows]).sum(1) / self.sphere
        length = (self.step * radius).clamp(max=self.longest_step)
        if self.moves == "tried":  # the authors' code divides by the radius after its growth
            away = torch.where(full[:, None], away / self.growth, away)
            moved = (centre + length[:, None] * away).clamp(-self.bound, self.bound)
            inside = self._labels(moved, prior, target) == label
            spheres.attempt(rows, moved, full, inside, growth=self.growth, patience=self.steps_per_radius)
            return
        moved = (centre + length[:, None] * away).clamp(-self.bound, self.bound)
        inside = full.clone()
        if not bool(full.all()):  # an empty batch is no question
            inside[~full] = self._labels(moved[~full], prior, target) == label[~full]
        spheres.advance(rows, moved, full, inside, growth=self.growth, patience=self.steps_per_radius)

    def _labels(self, latents: Tensor, prior: Prior, target: LabelTarget) -> Labels:
        return torch.cat([target.labels(self._images(part, prior)) for part in latents.split(self.chunk)])

    def _images(self, latents: Tensor, prior: Prior) -> Images:
        """The prior knows no identities, so all latents go with the same label."""
        nobody = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
        return prior.decode(latents, nobody).clamp(0, 1)


class _Starts:
    """The first latents that the target took for each identity.

    Attributes:
        latents: (num_classes, each, latent_size).
        count: (num_classes,), how many of those are there.
    """

    def __init__(self, num_classes: int, each: int, latent_size: int) -> None:
        self.latents = torch.zeros(num_classes, each, latent_size)
        self.count = torch.zeros(num_classes, dtype=torch.int64)

    @property
    def complete(self) -> int:
        return int((self.count == self.latents.shape[1]).sum())

    def take(self, latents: Tensor, labels: Labels) -> None:
        """Keep those of `latents` (n, latent_size), taken for `labels` (n,), that are still wanted.

        Earlier rows first.
        """
        latents, labels = latents.cpu(), labels.cpu()
        each, hits = self.latents.shape[1], torch.nn.functional.one_hot(labels, len(self.count))
        place = self.count[labels] + hits.cumsum(0).gather(1, labels[:, None]).squeeze(1) - 1
        wanted = place < each
        self.latents[labels[wanted], place[wanted]] = latents[wanted]
        self.count = (self.count + hits.sum(0)).clamp(max=each)

    def state_dict(self) -> dict[str, Any]:
        return {"latents": self.latents, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.latents, self.count = state_dict["latents"], state_dict["count"]


class _Spheres:
    """Where each search is.

    Attributes:
        centre: (n, latent_size), of the sphere.
        radius: (n,).
        steps: (n,), at this radius.
        best: (n, latent_size), where the search was after its sphere had grown last; where it began if it never grew.
        alive: (n,), whether it goes on.
    """

    def __init__(self, first: Tensor, alive: Tensor, radius: float) -> None:
        self.centre, self.best, self.alive = first.clone(), first.clone(), alive
        self.radius = torch.full((len(first),), radius, device=first.device)
        self.steps = torch.zeros(len(first), dtype=torch.int64, device=first.device)

    def attempt(
        self, rows: Tensor, moved: Tensor, full: Tensor, inside: Tensor, *, growth: float, patience: int
    ) -> None:
        """Of the searches `rows` (m,): grow those that are `full`, and move to `moved` those that are `inside` there.

        A radius is given up after `patience` moves.
        """
        self.radius[rows[full]] *= growth
        self.steps[rows] = torch.where(full, 0, self.steps[rows] + inside)
        self.centre[rows[inside]] = moved[inside]
        self.best[rows[full & inside]] = moved[full & inside]
        self.alive[rows] = self.steps[rows] < patience

    def advance(
        self, rows: Tensor, moved: Tensor, full: Tensor, inside: Tensor, *, growth: float, patience: int
    ) -> None:
        """Of the searches `rows` (m,), grow those that are `full`, move the others, and end those not `inside`."""
        self.best[rows[full]] = self.centre[rows[full]]
        self.radius[rows[full]] *= growth
        self.steps[rows] = torch.where(full, 0, self.steps[rows] + 1)
        self.centre[rows[~full]] = moved[~full]
        self.alive[rows] = inside & (self.steps[rows] < patience)

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        device = self.centre.device
        for name, value in state_dict.items():
            setattr(self, name, value.to(device))

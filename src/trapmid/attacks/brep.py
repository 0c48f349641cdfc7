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

    First, the target is queried with random latents until it has predicted every wanted identity. Then, for all
    identities at once, it is queried with points on a sphere around the latent. The latent moves away from points of
    other identities. If nearly all points show the identity, the sphere grows. The latent after the last growth is the
    result.

    A wanted identity that is not predicted for any random latent gets a random picture, which counts as a failure.

    Attributes:
        prior: the generator, which is trained without a target.
        wanted: number of identities after which the search for starting points ends. Only these identities are attacked
            (300 in the published untargeted protocol). None for all identities (targeted).
        start_batches: the largest number of batches of random latents in the search for starting points.
        start_batch: number of latents in such a batch.
        bound: latents are clipped to [-bound, bound].
        sphere: number of points on a sphere.
        radius: radius of the first sphere.
        growth: factor by which the radius grows if more than the share `filled` of the points is inside.
        filled: see `growth`. In the authors' code, points inside count 1 and points outside -1, and the sum has to
            exceed three quarters of their number, so at least 29 of 32 are inside.
        moves: `tried`, as published, or `final`. If moves are `tried`, a move that leads to another identity is not
            made, and the next step draws another sphere. This includes the moves of growing spheres. If moves are
            `final`, a move that leads to another identity ends the search, and a growing sphere does not move.
        step: length of the step away from the boundary, as a share of the radius.
        longest_step: the largest length of the step.
        steps_per_radius: number of steps at one radius after which the search for an identity ends.
        steps: number of steps after which the search for all identities ends. The paper has no such limit, so its
            spheres may grow forever if all points are inside.
        images_per_identity: number of starting points of the search.
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
        """The generator. The attack itself trains nothing."""
        return self.prior

    @torch.no_grad()
    def prepare(self, target: LabelTarget, public: ImageSet, run: Run) -> Prior:
        """Search for starting points for all identities at once."""
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
        """Run the search with all spheres at once."""
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
        """Do one step of every active search. `directions` (n, sphere, latent_size) have unit length."""
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
        if not bool(full.all()):  # an empty batch needs no query
            inside[~full] = self._labels(moved[~full], prior, target) == label[~full]
        spheres.advance(rows, moved, full, inside, growth=self.growth, patience=self.steps_per_radius)

    def _labels(self, latents: Tensor, prior: Prior, target: LabelTarget) -> Labels:
        return torch.cat([target.labels(self._images(part, prior)) for part in latents.split(self.chunk)])

    def _images(self, latents: Tensor, prior: Prior) -> Images:
        """Decode latents. The prior is unconditional, so all latents have the same label."""
        nobody = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
        return prior.decode(latents, nobody).clamp(0, 1)


class _Starts:
    """The first latents that the target classified as each identity.

    Attributes:
        latents: (num_classes, each, latent_size).
        count: (num_classes,), number of latents found.
    """

    def __init__(self, num_classes: int, each: int, latent_size: int) -> None:
        self.latents = torch.zeros(num_classes, each, latent_size)
        self.count = torch.zeros(num_classes, dtype=torch.int64)

    @property
    def complete(self) -> int:
        return int((self.count == self.latents.shape[1]).sum())

    def take(self, latents: Tensor, labels: Labels) -> None:
        """Store those of `latents` (n, latent_size), classified as `labels` (n,), that are still needed.

        Earlier rows are preferred.
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
    """The state of each search.

    Attributes:
        centre: (n, latent_size), the centre of the sphere.
        radius: (n,), the radius of the sphere.
        steps: (n,), the number of steps at this radius.
        best: (n, latent_size), the latent after the last growth of the sphere, or the start if the sphere never grew.
        alive: (n,), whether the search continues.
    """

    def __init__(self, first: Tensor, alive: Tensor, radius: float) -> None:
        self.centre, self.best, self.alive = first.clone(), first.clone(), alive
        self.radius = torch.full((len(first),), radius, device=first.device)
        self.steps = torch.zeros(len(first), dtype=torch.int64, device=first.device)

    def attempt(
        self, rows: Tensor, moved: Tensor, full: Tensor, inside: Tensor, *, growth: float, patience: int
    ) -> None:
        """Update the searches `rows` (m,): grow those that are `full`, and move those that are `inside` to `moved`.

        A search ends after `patience` moves at one radius.
        """
        self.radius[rows[full]] *= growth
        self.steps[rows] = torch.where(full, 0, self.steps[rows] + inside)
        self.centre[rows[inside]] = moved[inside]
        self.best[rows[full & inside]] = moved[full & inside]
        self.alive[rows] = self.steps[rows] < patience

    def advance(
        self, rows: Tensor, moved: Tensor, full: Tensor, inside: Tensor, *, growth: float, patience: int
    ) -> None:
        """Update the searches `rows` (m,): grow those that are `full`, move the others, and end those not `inside`."""
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

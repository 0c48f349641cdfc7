"""Whether a search of many identities stays within `--max-memory`: the peak memory of a process that only searches."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from benchmarks.timing import Bench, Measurement
from trapmid.attacks import PLGMI, PPA, Attack, Run
from trapmid.attacks.styles import show_candidates
from trapmid.augment import WarpAugmentation
from trapmid.engine import Compute, peak_memory_mib
from trapmid.models import Tiny
from trapmid.priors import CGAN, Prior, SNResNet, StyleGAN2
from trapmid.targets import WhiteBoxTarget

IN_A_PROCESS = f"import sys; from {__name__} import report; report(sys.argv[1])"


def memory(bench: Bench) -> Iterator["Footprint"]:
    """PLG-MI and PPA. The full run searches 1,000 identities with 5 images each at 64 px."""
    few = (8, 2, 2 * 1024) if bench.quick else (1000, 5, 8 * 1024)
    yield Footprint("plgmi", *few)
    yield Footprint("ppa", *few)


@dataclass(frozen=True)
class Footprint:
    """The search of one attack, with all images in one pass if they fit into memory.

    Attributes:
        attack: the attack.
        identities: the number of identities that are searched at once.
        each: images of each identity.
        budget: the value of `--max-memory`, in MiB.
        steps: steps of the search. All steps use the same memory.
    """

    attack: Literal["plgmi", "ppa"]
    identities: int
    each: int
    budget: int
    steps: int = 2

    def measure(self) -> Measurement:
        """Search in a new process on a CPU, and measure its peak memory."""
        threads = str(torch.get_num_threads())
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", IN_A_PROCESS, json.dumps(asdict(self))],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": threads},
        )
        peak = float(done.stdout)
        what = (
            f"{self.attack} search of {self.identities:,} identities x {self.each} images at 64 px, {self.steps} "
            "steps: "
            "--max-memory -> peak of the process"
        )
        return Measurement(
            f"memory-{self.attack}", what, float(self.budget), peak, peak / self.budget, "MiB", "Below 1: kept."
        )

    def search(self) -> None:
        """Search in this process."""
        compute = Compute("cpu", max_memory=self.budget * 2**20)
        model = compute.place(Tiny().build(self.identities, 64, 3))
        target = WhiteBoxTarget(model, self.identities, (3, 64, 64))
        with TemporaryDirectory() as folder:
            run = Run(0, compute, Path(folder))
            method, prior = self._plgmi(compute) if self.attack == "plgmi" else self._ppa(compute, target, run)
            method.invert(target, prior, torch.arange(self.identities), run)

    def _plgmi(self, compute: Compute) -> tuple[Attack[Any, Any], Prior]:
        method = PLGMI(
            prior=CGAN(networks=SNResNet(width=16)),
            search_augmentation=WarpAugmentation(crop_probability=1.0),
            augmentations=1,
            **self._sizes(),
        )
        return method, method.prior.build(self.identities, 64, 3, compute)

    def _ppa(self, compute: Compute, target: WhiteBoxTarget, run: Run) -> tuple[Attack[Any, Any], Prior]:
        method = PPA(
            prior=StyleGAN2(latent_size=128, style_size=128, mapping_layers=3, capacity=512, widest=64),
            candidates=4 * self.each,
            starts=self.each,
            search_augmentation=WarpAugmentation(crop_probability=1.0),
            selection_draws=1,
            **self._sizes(),
        )
        prior = method.prior.build(self.identities, 64, 3, compute)
        show_candidates(prior, target, method.candidates, method.truncation, 100, run)
        return method, prior

    def _sizes(self) -> dict[str, Any]:
        return {
            "images_per_identity": self.each,
            "search_steps": self.steps,
            "chunk": self.identities * self.each,
        }


def report(arguments: str) -> None:
    """Search, and print the peak memory of this process in MiB. The new process runs this."""
    Footprint(**json.loads(arguments)).search()
    print(peak_memory_mib())  # noqa: T201

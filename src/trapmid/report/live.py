"""The audit of a module in memory by one call, for notebooks."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import nn

from trapmid.audit.run import run_audit
from trapmid.engine import Compute, Progress
from trapmid.metrics.scores import Score, read_scores
from trapmid.progress import Watch
from trapmid.recipes.given import given_recipe
from trapmid.recipes.judging import Effort, parse_judge
from trapmid.report.showing import Shown
from trapmid.report.write import write_report
from trapmid.subjects import ACCESS, AccessName, hold, read_classes
from trapmid.subjects.live import Live


@final
@dataclass(frozen=True)
class AuditReport(Shown):
    """What an audit of a module found.

    Attributes:
        folder: the run folder.
        page: the report.
        scores: every score, as in scores.json.
    """

    folder: Path
    page: Path
    scores: tuple[Score, ...]


def audit_model(
    model: nn.Module,
    private: Path | str,
    public: Path | str,
    *,
    out: Path | str = "runs/model",
    image_size: int | None = None,
    channels: int | None = None,
    classes: str | Path | Sequence[str] = (),
    normalise: str | None = None,
    access: AccessName = "white-box",
    effort: Effort = "quick",
    resolution: int | None = None,
    identities: int | None = None,
    seeds: tuple[int, ...] = (0,),
    attacks: tuple[str, ...] = (),
    budget: int | None = None,
    judge: str | None = None,
    judge_weights: Path | str | None = None,
    changes: tuple[str, ...] = (),
    redact: bool = False,
    compute: Compute | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit a module in memory, as `trapmid audit MODEL` audits a file.

    The same call with the same folder resumes; finished parts are not repeated. A copy of the module is audited.

    Args:
        model: any module from images (n, c, h, w) to logits, probabilities or an object with `logits`.
        private: images of the people that the model knows.
        public: images of other people.
        out: the run folder.
        image_size: height and width in pixels of the model's images.
        channels: of its images; None for three.
        classes: their names in the model's order, or a file with one name per line; empty if they are the private
            identities in the order of their names.
        normalise: what the model expects instead of images in [0, 1]; see `trapmid.subjects.inputs`.
        access: what attacks get.
        effort: how much is tried.
        resolution: height and width of the audit's images: 32, 64 or 128.
        identities: how many take part.
        seeds: of the attacks.
        attacks: names that replace the battery.
        budget: the most images that one attack may show the model.
        judge: `timm:NAME`, an embedder of images that are no faces; see `trapmid.metrics.embedders.ImageEmbedder`.
        judge_weights: its weights, a local file.
        changes: `path.to.key=value` each, as `--set` takes them.
        redact: leave private images out of the report.
        compute: device and precision.
        progress: told about every task; None for a bar for each running task, in the notebook or on the terminal.

    Raises:
        UserError: the model or the images cannot be used; the text says why.
    """
    names = read_classes(classes) if isinstance(classes, str | Path) else tuple(classes)
    settings: dict[str, Any] = {"path": hold(model), "label": "model", "classes": names}
    settings |= {"image_size": image_size, "channels": channels, "normalise": normalise}
    config = Live.model_validate(settings)
    subject = config.open(access, compute)
    assert subject.access is ACCESS[access]
    folder = Path(out)
    recipe = given_recipe(
        [(config, subject)],
        private,
        public,
        access=access,
        effort=effort,
        resolution=resolution,
        identities=identities,
        seeds=seeds,
        attacks=attacks,
        budget=budget,
        judge=parse_judge(judge, None if judge_weights is None else Path(judge_weights)),
        tell=lambda text: warnings.warn(text, stacklevel=3),
        changes=changes,
    )
    with Watch() if progress is None else nullcontext(progress) as told:
        run_audit(recipe, folder, compute=compute, jobs=1, progress=told)  # worker processes do not hold the module
    page = write_report(folder, redact=redact)
    return AuditReport(folder, page, tuple(read_scores(folder)))

"""A model that trapmid trained, in a run folder."""

from pathlib import Path
from typing import Literal, final

from trapmid.defenses import open_model
from trapmid.engine import Compute
from trapmid.manifests import MANIFEST
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget


@final
class TrainedFolder(SubjectConfig):
    """`trained`: a model's folder in a run folder, such as runs/demo/models/none-s0."""

    title = "Model of a run folder"
    paper = "none: a model that trapmid trained"
    kind: Literal["trained"] = "trained"

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "TrainedFolder | None":
        """See `SubjectConfig.named`. Accepts a folder with a manifest."""
        return cls(path=text) if weights is None and (Path(text) / MANIFEST).is_file() else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        model = open_model(Path(self.path), Compute("cpu"))
        return Loaded(
            module=model.classifier,
            access=WhiteBoxTarget,
            digest=model.manifest.digest(),
            shape=model.image_shape,
            names=model.identities,
            architecture=model.manifest.recipe["model"],
        )

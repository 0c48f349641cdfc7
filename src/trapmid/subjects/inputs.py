"""The normalisation of images in [0, 1] before they are passed to a model."""

from typing import Annotated, NamedTuple, TypeAlias

from pydantic import AfterValidator

from trapmid.types import UserError

KNOWN: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "unit": ((0.0,), (1.0,)),
    "signed": ((0.5,), (0.5,)),
    "bytes": ((0.0,), (1 / 255,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Mean and standard deviation of common normalisations, for images in [0, 1]."""

TOLD = {
    "unit": "images in [0, 1]",
    "signed": "images in [-1, 1]",
    "bytes": "images in [0, 255]",
    "imagenet": "ImageNet's mean and standard deviation",
    "clip": "CLIP's mean and standard deviation",
}


class Normalise(NamedTuple):
    """Subtract `mean` and divide by `std`, for images in [0, 1]. There is one value per channel or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, text: str) -> "Normalise":
        """Parse a normalisation: a name in `KNOWN`, or numbers as `MEAN,.../STD,...`.

        Raises:
            UserError: the text is not a normalisation.
        """
        if text in KNOWN:
            return cls(*KNOWN[text])
        left, slash, right = text.partition("/")
        try:
            mean, std = (tuple(float(number) for number in side.split(",")) for side in (left, right))
        except ValueError:
            slash = ""
            mean = std = ()
        fits = len(mean) in (1, 3) and len(std) in (1, 3)
        if not slash or not fits or not all(-1e3 < m < 1e3 for m in mean) or not all(1e-6 < s < 1e6 for s in std):
            raise UserError(
                f"--normalize {text!r}: expected {', '.join(KNOWN)}, or the mean and the standard deviation of each "
                "channel for images in [0, 1], such as 0.485,0.456,0.406/0.229,0.224,0.225."
            )
        return cls(mean, std)

    @property
    def name(self) -> str:
        """The name in `KNOWN` if there is one, or otherwise the numbers in the format of `of`."""
        for name, values in KNOWN.items():
            if all(_near(own, known) for own, known in zip(self, values, strict=True)):
                return name
        return "/".join(",".join(f"{number:.9g}" for number in side) for side in self)

    @property
    def told(self) -> str:
        """A description in words."""
        return TOLD.get(self.name, f"mean and standard deviation {self.name}")


def _near(own: tuple[float, ...], known: tuple[float, ...]) -> bool:
    three = tuple(number for number in (own * 3)[:3]), tuple(number for number in (known * 3)[:3])
    return all(abs(a - b) < 2e-3 * max(abs(b), 1e-2) for a, b in zip(*three, strict=True))


def _is_one(text: str) -> str:
    Normalise.of(text)
    return text


Normalisation: TypeAlias = Annotated[str, AfterValidator(_is_one)]
"""A name in `KNOWN`, or numbers; see `Normalise.of`."""

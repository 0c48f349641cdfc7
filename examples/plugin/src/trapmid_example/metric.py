"""A metric: how varied images are, as their distance to the mean of all images of the same set, pixel by pixel."""

from collections.abc import Iterator

from trapmid.metrics import JudgedImages, Measured, Metric, Unit, over_identities


def _distance(evidence: JudgedImages) -> Iterator[Measured]:
    pixels = evidence.pixels.double() / 255
    mean = pixels.mean(0, keepdim=True)
    yield Measured(over_identities((pixels - mean).square().flatten(1).mean(1).sqrt(), evidence.labels))


MEAN_IMAGE_DISTANCE = Metric(
    name="mean_image_distance",
    title="Distance to the mean image",
    unit=Unit.NUMBER,
    better="neither",
    of=JudgedImages,
    compute=_distance,
    about="Root mean square pixel difference, in [0, 1] units, between an image and the mean of all images of its set: "
    "how varied the images are.",
    paper="trapmid's example of a plugin",
)

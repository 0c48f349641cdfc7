"""Faces of people who do not exist, drawn by code, for demos and tests that need no download.

An identity is a point in a space of about forty numbers (head shape, skin, hair, eyes, brows, nose, mouth, beard,
glasses); a picture of it adds what changes from photo to photo (pose, expression, light, clothes, background, noise).
Shapes are signed distances turned into soft masks and painted back to front, for a whole batch of pictures at once.
Lengths are in half image widths: x to the right and y down, both from -1 to 1.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
"""Numbers per picture, (n, 1, 1), colours per picture, (n, 1, 1, 3), or maps, (n, h, w)."""

_PERSON_DRAWS = 96
_SHOT_DRAWS = 64
_CHUNK = 128

_SKIN = np.array(
    [(0.99, 0.86, 0.76), (0.93, 0.74, 0.60), (0.84, 0.62, 0.46), (0.66, 0.45, 0.32), (0.45, 0.29, 0.20)], np.float32
)
_HAIR = np.array(
    [
        (0.07, 0.06, 0.06),
        (0.24, 0.14, 0.09),
        (0.44, 0.25, 0.13),
        (0.66, 0.30, 0.13),
        (0.86, 0.68, 0.38),
        (0.72, 0.72, 0.72),
    ],
    np.float32,
)
_IRIS = np.array([(0.20, 0.12, 0.07), (0.38, 0.24, 0.10), (0.30, 0.42, 0.22), (0.25, 0.46, 0.66)], np.float32)


def render_faces(
    identities: int, images_per_identity: int, size: int, seed: int, first_identity: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Render `images_per_identity` pictures of each of `identities` people.

    Returns images (n, size, size, 3) in 0..255 and labels (n,) in 0..identities-1, sorted by identity. Person k of a
    seed is always the same person, and picture j of them the same picture, whatever else is asked for: ranges of
    identities that do not overlap (`first_identity` moves the range) have no person in common.
    """
    if min(identities, images_per_identity) < 1 or size < 8 or first_identity < 0:
        raise ValueError(
            "render_faces needs at least 1 identity, 1 image each, 8 pixels and a first identity of 0 or more"
        )
    people, shots = [], []
    for number in range(first_identity, first_identity + identities):
        rng = np.random.default_rng([seed, number])
        people.append(rng.random(_PERSON_DRAWS, dtype=np.float32))
        shots.append(rng.random((images_per_identity, _SHOT_DRAWS), dtype=np.float32))
    person_draws = np.repeat(np.stack(people), images_per_identity, axis=0)
    shot_draws = np.concatenate(shots)
    images = np.empty((len(person_draws), size, size, 3), np.uint8)
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        picture = _paint(_Person(_Draws(person_draws[rows])), _Shot(_Draws(shot_draws[rows])), size)
        images[rows] = np.rint(np.clip(picture + _grain(shot_draws[rows, -1], size), 0, 1) * 255).astype(np.uint8)
    return images, np.repeat(np.arange(identities, dtype=np.int64), images_per_identity)


class _Draws:
    """Hands out the columns of a table of uniform numbers (n, draws) as the quantities of n people or n pictures."""

    def __init__(self, table: Floats) -> None:
        self._columns: Iterator[Floats] = iter(table.T[:, :, None, None])

    def uniform(self, low: float | int, high: float | int) -> Floats:
        """Evenly between two bounds, (n, 1, 1)."""
        return low + (high - low) * next(self._columns)

    def bell(self, centre: float | int, reach: float | int) -> Floats:
        """Bell-shaped around a centre, at most `reach` away (the mean of three uniforms), (n, 1, 1)."""
        mean = (next(self._columns) + next(self._columns) + next(self._columns)) / 3
        return centre + 2 * reach * (mean - 0.5)

    def chance(self, probability: float | int) -> Floats:
        """One with this probability, else zero, (n, 1, 1)."""
        return (next(self._columns) < probability).astype(np.float32)

    def colour(self, low: float | int, high: float | int) -> Floats:
        """Any colour with channels between two bounds, (n, 1, 1, 3)."""
        return np.stack([self.uniform(low, high) for _ in range(3)], axis=-1)

    def palette(self, anchors: Floats, jitter: float | int) -> Floats:
        """A colour on the line through neighbouring anchors, moved a little, (n, 1, 1, 3)."""
        place = self.uniform(0, len(anchors) - 1.001)
        below = place.astype(np.int64)
        share = (place - below)[..., None]
        between: Floats = (1 - share) * anchors[below] + share * anchors[below + 1]
        return np.clip(between + self.colour(-jitter, jitter), 0.02, 1)


class _Person:
    """What stays the same in every picture of an identity."""

    def __init__(self, draw: _Draws) -> None:
        skin = draw.palette(_SKIN, 0.02)
        hair = draw.palette(_HAIR, 0.03)
        long_hair = draw.chance(0.45)
        bearded = draw.chance(0.3) * (1 - long_hair)
        self.face_width = draw.bell(0.47, 0.10)
        self.face_height = draw.bell(0.62, 0.09)
        self.jaw = draw.uniform(2.0, 3.0)
        self.chin = draw.uniform(0.0, 0.26)
        self.ears = draw.uniform(0.07, 0.13)
        self.skin = skin
        self.blush = draw.uniform(0.0, 0.30)
        self.hair = hair
        self.hairline = draw.bell(-0.40, 0.16)
        self.hair_volume = draw.uniform(0.03, 0.16)
        self.hair_length = np.where(long_hair > 0, draw.uniform(0.35, 0.95), -0.25)
        self.parting = draw.bell(0.0, 0.6)
        self.fringe = draw.uniform(-0.35, 0.55)
        self.eye_gap = draw.bell(0.205, 0.05)
        self.eye_height = draw.bell(-0.06, 0.07)
        self.eye_width = draw.bell(0.105, 0.028)
        self.eye_opening = draw.uniform(0.42, 0.72)
        self.eye_tilt = draw.bell(0.0, 0.30)
        self.iris = draw.palette(_IRIS, 0.03)
        self.brow_height = draw.bell(0.135, 0.045)
        self.brow_weight = draw.uniform(0.014, 0.040)
        self.brow_tilt = draw.bell(0.0, 0.35)
        self.brow_arch = draw.uniform(0.0, 1.6)
        self.nose_width = draw.bell(0.085, 0.035)
        self.nose_length = draw.bell(0.24, 0.07)
        self.mouth_height = draw.bell(0.36, 0.05)
        self.mouth_width = draw.bell(0.17, 0.055)
        self.lips = draw.uniform(0.022, 0.055)
        self.lip_colour = np.clip(
            skin * 0.80 + draw.palette(np.array([(0.10, -0.06, -0.04), (0.16, -0.10, -0.06)], np.float32), 0.03), 0, 1
        )
        self.beard = bearded * draw.uniform(0.35, 0.95)
        self.moustache = np.maximum(bearded, draw.chance(0.12) * (1 - long_hair)) * draw.uniform(0.3, 0.95)
        self.glasses = draw.chance(0.3)
        self.lens_size = draw.uniform(0.13, 0.18)
        self.lens_squareness = draw.uniform(2.0, 5.0)
        self.frame = draw.palette(
            np.array([(0.05, 0.05, 0.06), (0.35, 0.18, 0.10), (0.60, 0.12, 0.12)], np.float32), 0.03
        )


class _Shot:
    """What differs between two pictures of the same identity."""

    def __init__(self, draw: _Draws) -> None:
        self.shift_x = draw.bell(0.0, 0.11)
        self.shift_y = draw.bell(0.0, 0.09)
        self.roll = draw.bell(0.0, 0.20)
        self.zoom = draw.bell(1.15, 0.12)
        self.yaw = draw.bell(0.0, 0.13)
        self.pitch = draw.bell(0.0, 0.06)
        self.smile = draw.bell(0.35, 1.2)
        self.mouth_open = np.maximum(0, draw.bell(-0.01, 0.09))
        self.blink = draw.uniform(0.75, 1.1)
        self.gaze = draw.bell(0.0, 0.5)
        self.brow_raise = draw.bell(0.0, 0.035)
        self.light_x = draw.uniform(-1, 1)
        self.light_y = draw.uniform(-1, 0.3)
        self.light = draw.uniform(0.05, 0.45)
        self.exposure = draw.bell(1.0, 0.30)
        self.tint = 1 + draw.colour(-0.10, 0.10)
        self.background = draw.uniform(0.25, 0.85)[..., None] + draw.colour(-0.12, 0.12)
        self.background_slope = draw.uniform(-0.18, 0.18)
        self.clothes = draw.uniform(0.15, 0.65)[..., None] + draw.colour(-0.15, 0.15)


class _Canvas:
    """Pictures in the making, (n, size, size, 3), and the soft edge that turns a signed distance into a mask."""

    def __init__(self, pixels: Floats, edge: float | int) -> None:
        self.pixels = pixels
        self.edge = edge

    def inside(self, distance: Floats, softness: float | int = 1.0) -> Floats:
        """One inside a shape (negative distance), zero outside, smooth over about `softness` pixels, (n, h, w)."""
        t = np.clip(0.5 - distance / (2 * self.edge * softness), 0, 1)
        mask: Floats = t * t * (3 - 2 * t)
        return mask

    def paint(self, mask: Floats, colour: Floats) -> None:
        """Lay a colour (n, 1, 1, 3) over the pictures where the mask (n, h, w) says."""
        self.pixels += mask[..., None] * (colour - self.pixels)


def _grey(level: float | int) -> Floats:
    return np.full((1, 1, 1, 3), level, np.float32)


def _ellipse(
    x: Floats, y: Floats, width: Floats | float, height: Floats | float, power: Floats | float = 2.0
) -> Floats:
    """About the signed distance to a superellipse with these half axes; 2 is an ellipse, larger powers are squarer."""
    across, down = np.abs(x / width), np.abs(y / height)
    order = np.asarray(power, np.float32)
    radius = np.maximum(across**order + down**order, 1e-6) ** (1 / order)
    slope = radius ** (1 - order) * np.hypot(across ** (order - 1) / width, down ** (order - 1) / height)
    distance: Floats = (radius - 1) / np.maximum(slope, 1e-3)
    return distance


def _paint(p: _Person, s: _Shot, size: int) -> Floats:
    """Paint one picture per row, back to front; (n, size, size, 3), about 0..1."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    page_x, page_y = axis[None, None, :], axis[None, :, None]
    moved_x, moved_y = (page_x - s.shift_x) / s.zoom, (page_y - s.shift_y - 0.06) / s.zoom
    x, y = np.cos(s.roll) * moved_x + np.sin(s.roll) * moved_y, np.cos(s.roll) * moved_y - np.sin(s.roll) * moved_x
    behind = s.background + (s.background_slope * (page_x + page_y))[..., None]
    canvas = _Canvas(np.broadcast_to(behind, (len(s.roll), size, size, 3)).copy(), edge=2 / size)

    # The head: its lower half narrows to the chin and is squarer the heavier the jaw.
    width = p.face_width * (1 - p.chin * np.clip(y / p.face_height, 0, 1))
    head = _ellipse(x, y, width, p.face_height, np.where(y > 0, p.jaw, 2.0))

    # Behind the head: hair that falls down, shoulders, neck, ears.
    fall = _ellipse(
        x, y - 0.5 * p.hair_length + 0.18, p.face_width + p.hair_volume + 0.05, p.face_height + 0.5 * p.hair_length, 2.6
    )
    canvas.paint(canvas.inside(fall) * (p.hair_length > 0), p.hair * 0.72)
    cap = _ellipse(x, y + 0.04, p.face_width + 0.7 * p.hair_volume + 0.015, p.face_height + p.hair_volume, 2.2)
    canvas.paint(canvas.inside(np.maximum(cap, y - p.eye_height)), p.hair * 0.72)
    canvas.paint(canvas.inside(_ellipse(x, y - 1.20, p.face_width + 0.40, 0.46, 2.6)), s.clothes)
    canvas.paint(canvas.inside(_ellipse(x, y - 0.62, 0.52 * p.face_width, 0.34, 3.0)), p.skin * 0.74)
    for side in (-1, 1):
        ear = _ellipse(
            x - side * (p.face_width + 0.01) + 0.3 * s.yaw, y + 0.02 - p.eye_height, p.ears * 0.62, p.ears * 1.25
        )
        canvas.paint(canvas.inside(ear), p.skin * 0.86)

    # Skin, shaded as a round thing: darker to the rim and away from the light.
    face = canvas.inside(head)
    canvas.paint(face, p.skin)
    rim = np.clip(1 + head / np.minimum(p.face_width, p.face_height), 0, 1) ** 3
    canvas.paint(0.38 * rim * face, p.skin * 0.55)
    for side in (-1, 1):
        cheek = np.exp(-(((x - s.yaw * 0.4 - side * 0.26) / 0.13) ** 2) - ((y - 0.17) / 0.11) ** 2)
        canvas.paint(p.blush * cheek * face, np.clip(p.skin * np.array((1.05, 0.62, 0.60), np.float32), 0, 1))

    # Features lie on the front of the head: they move further than its outline when it turns or nods.
    fx, fy = x - s.yaw, y - s.pitch
    mouth_y = fy - p.mouth_height
    _beard(canvas, p, x, mouth_y, fx, face)
    for side in (-1, 1):
        _eye(canvas, p, s, side, fx, fy)
    _nose(canvas, p, fx, fy)
    _mouth(canvas, p, s, fx, mouth_y)
    _hair(canvas, p, s, x, y, cap)
    _glasses(canvas, p, fx, fy)

    shade = s.exposure * (1 + s.light * np.clip(s.light_x * x + s.light_y * y, -1, 1))
    lit: Floats = canvas.pixels * shade[..., None] * s.tint
    return lit


def _beard(canvas: _Canvas, p: _Person, x: Floats, mouth_y: Floats, fx: Floats, face: Floats) -> None:
    canvas.paint(
        p.beard * face * canvas.inside(-0.10 - mouth_y - 0.9 * np.maximum(0, np.abs(x) - 0.22), softness=2.5),
        p.hair * 0.85,
    )
    canvas.paint(
        p.moustache * canvas.inside(_ellipse(fx, mouth_y + 0.075 - 0.5 * fx**2, p.mouth_width, 0.035)), p.hair * 0.85
    )


def _eye(canvas: _Canvas, p: _Person, s: _Shot, side: int, fx: Floats, fy: Floats) -> None:
    ex, ey = fx - side * p.eye_gap, fy - p.eye_height
    ey, opening = ey + side * p.eye_tilt * ex, p.eye_width * p.eye_opening * s.blink
    lid = _ellipse(ex, ey, p.eye_width, opening)
    canvas.paint(
        0.35 * canvas.inside(_ellipse(ex, ey + 0.02, p.eye_width * 1.35, opening * 1.6), softness=2), p.skin * 0.62
    )
    white = canvas.inside(lid)
    canvas.paint(white, _grey(0.95))
    ix, radius = ex - s.gaze * p.eye_width * 0.5, p.eye_width * 0.52
    canvas.paint(white * canvas.inside(_ellipse(ix, ey, radius, radius)), p.iris)
    canvas.paint(white * canvas.inside(_ellipse(ix, ey, radius * 0.45, radius * 0.45)), _grey(0.03))
    canvas.paint(0.9 * white * canvas.inside(_ellipse(ix + 0.018, ey + 0.02, 0.018, 0.018)), _grey(1.0))
    canvas.paint(0.8 * canvas.inside(np.abs(lid) - 0.010) * (ey < 0), _grey(0.10))
    by = fy - p.eye_height + p.brow_height + s.brow_raise + side * p.brow_tilt * ex + p.brow_arch * ex**2
    canvas.paint(0.92 * canvas.inside(_ellipse(ex, by, p.eye_width * 1.25, p.brow_weight, 2.5)), p.hair * 0.75)


def _nose(canvas: _Canvas, p: _Person, fx: Floats, fy: Floats) -> None:
    ny = fy - p.eye_height - p.nose_length
    along = np.clip(1 + ny / p.nose_length, 0, 1) * (ny < 0.02)
    flank = np.exp(-(((np.abs(fx) - p.nose_width * (0.45 + 0.4 * along)) / 0.03) ** 2))
    canvas.paint(0.30 * flank * along, p.skin * 0.60)
    canvas.paint(0.45 * np.exp(-((fx / 0.035) ** 2)) * along, np.clip(p.skin * 1.18, 0, 1))
    canvas.paint(0.45 * canvas.inside(_ellipse(fx, ny - 0.01, p.nose_width * 1.1, 0.045), softness=2), p.skin * 0.70)
    for side in (-1, 1):
        canvas.paint(
            0.75 * canvas.inside(_ellipse(fx - side * p.nose_width * 0.55, ny - 0.025, 0.026, 0.018)), p.skin * 0.30
        )


def _mouth(canvas: _Canvas, p: _Person, s: _Shot, fx: Floats, mouth_y: Floats) -> None:
    width = p.mouth_width * (1 + 0.12 * s.smile)
    bent = mouth_y + 1.3 * s.smile * (fx**2 - 0.4 * width**2)
    lips = canvas.inside(_ellipse(fx, bent, width, p.lips + s.mouth_open)) * (np.abs(fx) < 1.05 * width)
    canvas.paint(lips, p.lip_colour)
    canvas.paint(lips * canvas.inside(_ellipse(fx, bent, width * 0.86, s.mouth_open * 0.9 + 0.006)), _grey(0.12))
    teeth = lips * canvas.inside(_ellipse(fx, bent + s.mouth_open * 0.45, width * 0.7, s.mouth_open * 0.45 + 0.001))
    canvas.paint(teeth * (s.mouth_open > 0.012), _grey(0.94))


def _hair(canvas: _Canvas, p: _Person, s: _Shot, x: Floats, y: Floats, cap: Floats) -> None:
    line = p.hairline + s.pitch + p.fringe * np.abs(x - 0.6 * s.yaw - p.parting * p.face_width)
    line = line + 3.0 * np.maximum(0, np.abs(x) - 0.80 * p.face_width)
    lowest = np.where(p.hair_length > 0, p.hair_length, p.eye_height + 0.05)
    mask = canvas.inside(np.maximum(cap, y - np.minimum(line, lowest)))
    canvas.paint(mask, p.hair)
    strands = 0.5 + 0.5 * np.sin(26 * (x + p.fringe * y))
    gloss = np.exp(-(((y + p.face_height * 0.80) / 0.12) ** 2))
    canvas.paint(mask * (0.10 * strands + 0.22 * gloss), np.clip(p.hair * 1.5 + 0.14, 0, 1))


def _glasses(canvas: _Canvas, p: _Person, fx: Floats, fy: Floats) -> None:
    gy = fy - p.eye_height - 0.015
    gap = np.maximum(p.eye_gap, p.lens_size + 0.025)
    lens = _ellipse(np.abs(fx) - gap, gy, p.lens_size, p.lens_size * 0.80, p.lens_squareness)
    canvas.paint(p.glasses * 0.10 * canvas.inside(lens), _grey(1.0))
    bridge = np.maximum(np.abs(gy + 0.02) - 0.012, np.maximum(np.abs(fx) - gap - p.lens_size - 0.16, -lens))
    canvas.paint(p.glasses * canvas.inside(np.minimum(np.abs(lens) - 0.013, bridge)), p.frame)


def _grain(keys: Floats, size: int) -> Floats:
    """Sensor noise for pictures with these keys (n,), each the same picture by picture; (n, size, size, 3)."""
    noise = [np.random.default_rng(int(key * 2**24)).standard_normal((size, size, 3), dtype=np.float32) for key in keys]
    return 0.015 * np.stack(noise)

"""What judges say image by image, as rows of a table, and scores over several seeds."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trapmid.data.images import ImageSet
from trapmid.engine import generator
from trapmid.files import replacing
from trapmid.metrics.evidence import JudgedImages
from trapmid.metrics.intervals import over_seeds
from trapmid.metrics.panel import SAMPLES_PER_IDENTITY
from trapmid.metrics.scores import Score, ScoreKey
from trapmid.types import Pixels

VERSION = 1
"""Of the rows: raise it when the same evidence gives other rows."""


def draw_public(public: ImageSet, identities: int, seed: int = 0) -> Pixels:
    """(n, c, h, w), uint8: `SAMPLES_PER_IDENTITY` random public images for each private identity, or all."""
    wanted = min(len(public), SAMPLES_PER_IDENTITY * identities)
    return public.pixels[torch.randperm(len(public), generator=generator(seed, "public floor"))[:wanted]]


def over_all_seeds(scores: Iterable[Score]) -> Iterator[Score]:
    """For every score of a seed, its mean over seeds with the interval over seeds."""
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for score in scores:
        if score.seed is not None:
            groups.setdefault((score.defense, score.attack, score.judge, score.metric), []).append(score.value)
    for (defense, attack, judge, metric), values in groups.items():
        yield ScoreKey(defense, attack, None).score(judge, metric, over_seeds(values))


def sample_rows(
    evidence: JudgedImages, identities: Sequence[str], confidence: torch.Tensor
) -> Iterator[dict[str, Any]]:
    """A row for each judge and each reconstruction.

    Args:
        evidence: reconstructions of an attack.
        identities: their names, by label.
        confidence: (n,), how sure the target is of each.
    """
    for said in evidence.judgements:
        columns = zip(
            said.labels.tolist(),
            said.rank.tolist(),
            said.distance.tolist(),
            said.accepted.tolist(),
            confidence.tolist(),
            strict=True,
        )
        for sample, (label, rank, distance, accepted, sure) in enumerate(columns):
            yield {
                **evidence.key._asdict(),
                "judge": said.judge,
                "sample": sample,
                "identity": identities[label],
                "rank": rank,
                "distance": distance,
                "accepted": accepted,
                "confidence": sure,
            }


def write_samples(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as Parquet."""
    with replacing(file) as stream:
        pq.write_table(pa.Table.from_pylist(list(rows)), stream)

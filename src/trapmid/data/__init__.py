"""Data: readers for every layout, splits that keep identities apart, and a doctor that says what is wrong with a set."""

from trapmid.data.folder import FlatFolderSource
from trapmid.data.images import ImageSet
from trapmid.data.sources import Source, SyntheticSource, guess_source
from trapmid.data.splits import Split, SplitConfig, check_disjoint, split

__all__ = [
    "FlatFolderSource",
    "ImageSet",
    "Source",
    "Split",
    "SplitConfig",
    "SyntheticSource",
    "check_disjoint",
    "guess_source",
    "split",
]

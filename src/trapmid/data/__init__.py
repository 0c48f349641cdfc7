"""Data: readers for every layout, splits within identities, and a check of data sets before training.

A custom reader is a class that derives from `StoredSource`, in a file of your own. See the section on sources in
docs/design.md.
"""

from trapmid.data.celeba import CelebASource
from trapmid.data.contract import SOURCES, AnySource, Source
from trapmid.data.decoding import BrokenImage
from trapmid.data.diagnosis import Diagnosis
from trapmid.data.doctor import examine
from trapmid.data.folder import FlatFolderSource, FolderSource
from trapmid.data.images import ImageSet
from trapmid.data.parquet import ParquetSource
from trapmid.data.pictures import Pictures, read_pictures
from trapmid.data.records import Record, StoredSource
from trapmid.data.sources import SyntheticSource, guess_source
from trapmid.data.splits import Split, SplitConfig, check_disjoint, split

__all__ = [
    "SOURCES",
    "AnySource",
    "BrokenImage",
    "CelebASource",
    "Diagnosis",
    "FlatFolderSource",
    "FolderSource",
    "ImageSet",
    "ParquetSource",
    "Pictures",
    "Record",
    "Source",
    "Split",
    "SplitConfig",
    "StoredSource",
    "SyntheticSource",
    "check_disjoint",
    "examine",
    "guess_source",
    "read_pictures",
    "split",
]

"""External classifiers: how they are opened and queried."""

from trapmid.subjects.inputs import Normalise
from trapmid.subjects.live import hold
from trapmid.subjects.subject import ACCESS, AccessName, Loaded, Subject, SubjectConfig
from trapmid.subjects.union import SUBJECTS, AnySubject, parse_subject, read_classes

__all__ = [
    "ACCESS",
    "SUBJECTS",
    "AccessName",
    "AnySubject",
    "Loaded",
    "Normalise",
    "Subject",
    "SubjectConfig",
    "hold",
    "parse_subject",
    "read_classes",
]

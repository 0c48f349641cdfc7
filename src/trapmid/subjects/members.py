"""The kinds of models that can be audited."""

from trapmid.subjects.address import Address
from trapmid.subjects.factory import Factory
from trapmid.subjects.huggingface import HuggingFaceFolder
from trapmid.subjects.live import Live
from trapmid.subjects.onnx_file import OnnxFile
from trapmid.subjects.program import ProgramFile
from trapmid.subjects.subject import SubjectConfig
from trapmid.subjects.timm_model import TimmModel
from trapmid.subjects.trained import TrainedFolder

MEMBERS: tuple[type[SubjectConfig], ...] = (
    Address,
    TimmModel,
    OnnxFile,
    ProgramFile,
    TrainedFolder,
    HuggingFaceFolder,
    Factory,
    Live,
)
"""All kinds of models, in the order in which they are tried. The first one that accepts a text is used."""

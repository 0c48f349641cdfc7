"""Detection of images that came out of an inversion of a trapdoored model (Trap-MID, section 4.2)."""

from trapmid.detection.building import Learned, open_detector, suspect
from trapmid.detection.calibration import Calibration
from trapmid.detection.detector import Detector, Suspects, known_signatures
from trapmid.detection.watch import Alarm, Watched

__all__ = [
    "Alarm",
    "Calibration",
    "Detector",
    "Learned",
    "Suspects",
    "Watched",
    "known_signatures",
    "open_detector",
    "suspect",
]

"""Whether trapmid works on a GPU, how fast it is there, and how near to the card's peak, in at most nine minutes."""

from benchmarks.gpu.parts import PARTS, Setting

__all__ = ["PARTS", "Setting"]

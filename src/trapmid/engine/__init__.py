"""What every training and search runs in: devices, random numbers by step, loops with checkpoints, logs, progress."""

from trapmid.engine.checkpoints import LATEST, BestState, load_checkpoint, save_checkpoint
from trapmid.engine.compute import Compute, Precision, choose_device, one_thread
from trapmid.engine.loop import LOG, Loop, read_log
from trapmid.engine.memory import peak_memory_mib
from trapmid.engine.processes import run_together
from trapmid.engine.progress import Progress, labelled, no_progress
from trapmid.engine.seeds import generator, randomness, seed_of

__all__ = [
    "LATEST",
    "LOG",
    "BestState",
    "Compute",
    "Loop",
    "Precision",
    "Progress",
    "choose_device",
    "generator",
    "labelled",
    "load_checkpoint",
    "no_progress",
    "one_thread",
    "peak_memory_mib",
    "randomness",
    "read_log",
    "run_together",
    "save_checkpoint",
    "seed_of",
]

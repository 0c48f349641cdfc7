"""How much memory this process has used."""

import sys
from pathlib import Path

import psutil


def peak_memory_mib() -> float:
    """The peak of the resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage also counts what the parent process held when it started this one
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) / 1024.0
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1024.0**2
    import resource  # this module does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0 if sys.platform != "darwin" else 1024.0**2)

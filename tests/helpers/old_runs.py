"""Run folders that earlier versions wrote, to be read by this one.

`run-0.1.0.tar.xz` is an audit of the demo's recipe at a tiny size, made with version 0.1.0: four defenses (a
trapdoor, one that changes batches, one that changes the network), eight attacks of every access level, a trained
judge, detection and all scores.
"""

import tarfile
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"


def unpack_run(folder: Path, version: str = "0.1.0") -> Path:
    """The run folder of that version, unpacked into `folder`."""
    with tarfile.open(FIXTURES / f"run-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    for secret in (folder / "secrets").rglob("*"):
        secret.chmod(0o700 if secret.is_dir() else 0o600)
    return folder

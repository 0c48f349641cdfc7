"""Record the losses of the tiny trainings anew: `.venv/bin/python tests/golden/regenerate.py` (or `uv run python ...`).

Do this only when a change is meant to change numbers, and say so in the commit.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from helpers.golden import FILE, losses

from trapmid.artifacts import versions
from trapmid.defenses import DEFENSES

TOLERANCE = (
    "relative 1e-4. Convolution kernels and sums in another order (other CPU, thread count, oneDNN on or off) move these losses by "
    "MEASURED at most; a change of the algorithm (another order of draws, a mean for a sum, one step more) moves them by 1e-2 and more"
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {kind.model_fields["kind"].default: losses(kind.model_fields["kind"].default) for kind in DEFENSES}
    content = {
        "regenerate": "python tests/golden/regenerate.py",
        "tolerance": TOLERANCE,
        "versions": versions(),
        "losses": found,
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n")

"""Record the losses of the tiny trainings and surrogates anew: `uv run python tests/golden/regenerate.py`.

Do this only when a change is meant to change numbers, and say so in the commit.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from helpers.golden import FILE, GANS, SURROGATES, losses, prior_losses, surrogate_row
from helpers_attacks import SURROGATE_KINDS
from helpers_attacks.golden import FILE as STYLEGAN2
from helpers_attacks.golden import style_losses
from trapmid.defenses import DEFENSES
from trapmid.manifests import versions

TOLERANCE = (
    "relative 1e-4. Other roundings move these losses by 2e-7 at most, those that are trained in float64 "
    "(tests/helpers/golden.py) by 2e-15. Small changes of the algorithm (no naturalness term, "
    "trigger steps "
    "longer by a tenth, two discriminator steps) move them by 1.7e-3 and more"
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    SURROGATES.write_text(json.dumps({kind: surrogate_row(kind) for kind in SURROGATE_KINDS}, indent=1) + "\n")
    found = {kind.model_fields["kind"].default: losses(kind.model_fields["kind"].default) for kind in DEFENSES}
    of_style = {"regenerate": "python tests/golden/regenerate.py", "versions": versions(), "losses": style_losses()}
    STYLEGAN2.write_text(json.dumps(of_style, indent=1) + "\n")
    content = {
        "regenerate": "python tests/golden/regenerate.py",
        "tolerance": TOLERANCE,
        "versions": versions(),
        "losses": found,
        "priors": {kind: prior_losses(kind) for kind in GANS},
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n")

"""Signatures against a loop over classes."""

import torch
from torch.nn import functional as F

from trapmid.models import Tiny
from trapmid.trapdoor import Secrets, signatures
from trapmid.trapdoor.triggers import stratified_labels


def test_signatures_are_the_normalised_mean_features_of_each_classs_triggered_images():
    model = Tiny(widths=(4, 8), strides=(2, 2)).build(3, 8, 3).eval()
    images, triggers = torch.rand(10, 3, 8, 8), torch.rand(3, 3, 8, 8)
    found = signatures(model, images, Secrets(triggers, 0.3), torch.Generator().manual_seed(1), batch=4)
    targets = stratified_labels(10, 3, torch.Generator().manual_seed(1))
    for label in range(3):
        poisoned = torch.stack([0.7 * x + 0.3 * triggers[label] for x in images[targets == label]])
        mean = model(poisoned).features.mean(0)
        torch.testing.assert_close(found[label], F.normalize(mean, dim=0), atol=1e-5, rtol=1e-5)

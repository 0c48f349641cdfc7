"""timm backbones by name. One test, since timm takes seconds to import."""

import pytest
import torch

from trapmid.models import parse_model
from trapmid.types import UserError


def test_a_backbone_and_a_name_nobody_knows() -> None:
    model = parse_model("zoo:resnet18").build(6, 32, 1).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        prediction = model(images)
        expected = model.backbone(images.repeat(1, 3, 1, 1) * 2 - 1)  # type: ignore[operator]
    torch.testing.assert_close(prediction.features, expected)
    assert prediction.features.shape == (2, 512)
    assert prediction.logits.shape == (2, 6)
    with pytest.raises(UserError, match=r"zoo:resnet18_x is not a timm model\. Did you mean .*resnet18"):
        parse_model("zoo:resnet18_x").build(6, 32, 3)
    with pytest.raises(UserError, match=r"zoo:qqq is not a timm model\. See timm\.list_models\(\)"):
        parse_model("zoo:qqq").build(6, 32, 3)

"""The prior that is read from OpenVINO's files: styles, blocks, framing, attacks, the published files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.openvino_files import tiny_mobile_stylegan
from helpers.real_faces import DATA
from helpers_attacks import CPU, TINY_ATTACKS, faces, trained_classifier
from trapmid.attacks import invert
from trapmid.manifests import recorded
from trapmid.priors import FFHQMobile, StylePrior, open_prior, pretrain
from trapmid.types import UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "openvino.json").read_text(encoding="utf-8"))
PUBLISHED = DATA / "ffhq-mobilestylegan"
PUBLIC = faces(4, 4)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> FFHQMobile:
    folder = tiny_mobile_stylegan(tmp_path_factory.mktemp("tiny"))
    return FFHQMobile.model_validate({"path": folder, "crop": 12, "top": 1})


@pytest.fixture(scope="module")
def prior(config: FFHQMobile, tmp_path_factory: pytest.TempPathFactory) -> StylePrior:
    place = tmp_path_factory.mktemp("prior") / "prior"
    pretrain(place, config, PUBLIC, 4, compute=CPU)
    found = open_prior(place, config, CPU)[0]
    assert isinstance(found, StylePrior)
    return found


def test_pictures_have_the_size_of_public_images_and_gradients(prior: StylePrior) -> None:
    latents = torch.randn(3, prior.latent_size, generator=torch.Generator().manual_seed(0))
    styles = prior.map(latents).detach().requires_grad_()
    images = prior.synthesise(styles)
    assert images.shape == (3, 3, PUBLIC.image_size, PUBLIC.image_size)
    (gradient,) = torch.autograd.grad(images.square().sum(), styles)
    assert bool((gradient.abs().sum(1) > 0).all())
    assert prior.sample(torch.zeros(2, dtype=torch.int64), torch.Generator().manual_seed(0)).shape[0] == 2


def test_truncation_moves_styles_to_their_mean(prior: StylePrior) -> None:
    latents = torch.randn(2000, prior.latent_size, generator=torch.Generator().manual_seed(0))
    styles = prior.map(latents)
    low = prior.map(latents, 0.0)
    torch.testing.assert_close(low, low[:1].expand_as(low))
    torch.testing.assert_close(low[0], styles.mean(0), rtol=0.2, atol=0.05)
    torch.testing.assert_close(prior.map(latents, 0.5), (styles + low) / 2)


def test_stages_give_the_picture_of_one_pass_and_layers_have_their_own_styles(prior: StylePrior) -> None:
    styles = prior.map(torch.randn(2, prior.latent_size, generator=torch.Generator().manual_seed(0)))
    whole = prior.synthesise(styles)
    features = None
    for blocks in range(1, prior.blocks + 1):
        features = prior.features_at(styles, blocks, features)
        torch.testing.assert_close(prior.from_features(features, styles), whole)
    each = styles[:, None].repeat(1, 2 * prior.blocks, 1)
    torch.testing.assert_close(prior.synthesise(each), whole)
    for layer in range(2 * prior.blocks):
        other = each.clone()
        other[:, layer] += 1
        # the first block has no picture, so its second style is that of the next block's first half
        assert not torch.allclose(prior.synthesise(other), whole), layer


def test_the_crop_is_where_the_config_says(config: FFHQMobile) -> None:
    whole = config.model_copy(update={"crop": None}).build(4, 16, 3, CPU)
    part = config.model_copy(update={"crop": 12, "top": 1}).build(4, 12, 3, CPU)
    styles = torch.randn(1, whole.style_size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(part.synthesise(styles), whole.synthesise(styles)[:, :, 1:13, 2:14])
    with pytest.raises(UserError, match="cannot keep a square of 12 px below 5 px"):
        config.model_copy(update={"top": 5}).build(4, 12, 3, CPU)
    with pytest.raises(UserError, match="3 channels"):
        config.build(4, 16, 1, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ppa", "ifgmi", "mirror", "mirror-whitebox"])
def test_attacks_search_it(kind: str, config: FFHQMobile) -> None:
    private = faces(4, 10)
    model = trained_classifier(private)
    attack: Any = TINY_ATTACKS[kind]
    if kind == "ifgmi":
        ppa = attack.ppa.model_copy(update={"prior": config})
        attack = attack.model_copy(update={"ppa": ppa, "layer_steps": (4,), "radii": (0.3,)})
    else:
        attack = attack.model_copy(update={"prior": config})
    found = invert(model, PUBLIC, attack, identities=("a", "b", "c", "d"), compute=CPU)
    assert found.pixels.shape[1:] == (3, PUBLIC.image_size, PUBLIC.image_size)
    assert float(found.confidence.mean()) > 0.3


def test_a_recipe_holds_the_hash_of_every_file(config: FFHQMobile, tmp_path: Path) -> None:
    assert FFHQMobile.model_validate_json(config.model_dump_json()) == config
    folder = tiny_mobile_stylegan(tmp_path)
    moved = FFHQMobile.model_validate({"path": str(folder), "crop": 12, "top": 1})
    assert recorded(moved) == recorded(config)
    weights = folder / "mobilestylegan_ffhq_snet.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert recorded(moved) != recorded(config)


def test_missing_and_other_files_are_named(tmp_path: Path, config: FFHQMobile) -> None:
    with pytest.raises(ValueError, match=r"has no mobilestylegan_ffhq_mnet\.xml"):
        FFHQMobile.model_validate({"path": tmp_path})
    with pytest.raises(UserError, match="reads four files, and 0 are named"):
        FFHQMobile().check_size(64)
    mapping, weights, *synthesis = config.files
    for files in ((*synthesis, mapping, weights), (mapping, weights, mapping, weights)):
        with pytest.raises(UserError, match="does not hold the synthesis that belongs to"):
            FFHQMobile(files=files, crop=12, top=1).build(4, 16, 3, CPU)
    text = synthesis[0].read_text(encoding="utf-8")
    (tmp_path / "other.xml").write_text(text.replace("m.layers.0.up", "m.other"), encoding="utf-8")
    with pytest.raises(UserError, match="not the synthesis of MobileStyleGAN"):
        FFHQMobile(files=(mapping, weights, tmp_path / "other.xml", synthesis[1]), crop=12, top=1).build(4, 16, 3, CPU)


# The files are 40 MB, out of a wheel whose requirements would break ours. The tests above read small ones of the
# same format, which always run.
@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no {PUBLISHED} (TRAPMID_SHARED names the folder that holds data/)")
def test_the_published_files_make_the_pictures_of_openvino() -> None:
    config = FFHQMobile.model_validate({"path": PUBLISHED, "crop": None})
    prior = config.build(4, 1024, 3, CPU)
    assert (prior.blocks, prior.latent_size, prior.style_size, prior.side) == (8, 512, 512, 1024)
    latents = torch.tensor(np.random.default_rng(0).normal(size=(1, 512)), dtype=torch.float32)
    with torch.no_grad():
        styles = prior.map(latents)
        picture = prior.synthesise(styles)[:, :, 64::128, 64::128] * 2 - 1
    torch.testing.assert_close(styles[:, ::16].flatten(), torch.tensor(GOLDEN["ffhq_styles"]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(picture.flatten(), torch.tensor(GOLDEN["ffhq_picture"]), rtol=1e-3, atol=1e-3)

"""The paper's main setting: VGG-16 on CelebA at 64 px, 1,000 identities, every constant as published.

Sources: Trap-MID (Liu & Chen, NeurIPS 2024), App. C.2 to C.5 for data, training, trapdoor and attack; PLG-MI (Yuan et
    al., AAAI 2023). What only the authors' code states is taken from there.
"""

from trapmid.attacks import PLGMI
from trapmid.audit import Recipe
from trapmid.augment import KorniaAugmentation
from trapmid.data import SplitConfig
from trapmid.defenses import SGD, NoDefense, Training, TrapMID
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.models import VGG16, FaceNet64


def celeba64_vgg16() -> Recipe:
    """The Trap-MID and the unprotected row of Table 1 under PLG-MI.

    Command: `trapmid audit --recipe celeba64_vgg16 --private CELEBA --public CELEBA --device cuda`. It needs a GPU and
        the ImageNet weights of VGG-16, which torchvision downloads unless `--set model.weights=FILE` names a file. In
        the paper, the training of one model took 75 minutes on an RTX A6000. The paper reports, for the unprotected
        model, an accuracy of 86.2 % and an AA-1 of 95.8 %; for Trap-MID, 81.4 % and about 6.3 % (1.2 to 15.8 % in five
        runs).

    Deviations from the authors' code: the epoch is chosen on a validation split and not on the test split, which
    `--set training.keep=test` restores. The unprotected model is trained with the same augmentation as the others.
    The evaluation classifier is the authors' IR-50 for 112 px. It starts at random unless `--set
    judges.classifier.model.weights=FILE` names a file, because the MS-Celeb-1M weights that they begin with are no
    longer distributed.
    """
    training = Training(
        epochs=50,
        batch_size=64,
        optimizer=SGD(rate=0.01, momentum=0.9, weight_decay=1e-4),
        schedule="constant",
        augmentation=KorniaAugmentation(),
        keep="val",
    )
    return Recipe(
        name="celeba64_vgg16",
        about="The paper's main table: VGG-16, CelebA, 64 px, every constant as published. For a GPU.",
        image_size=64,
        channels=3,
        identities=1000,
        split=SplitConfig(val=0.05, test=0.1),
        model=VGG16(pretrained=True),
        training=training,
        defenses=(NoDefense(), TrapMID()),
        attacks=(PLGMI(identities_per_batch=60),),
        seeds=(0, 1, 2, 3, 4),
        judges=(
            EvaluationClassifier(model=FaceNet64(input_size=112), training=training.model_copy(update={"epochs": 30})),
        ),
    )

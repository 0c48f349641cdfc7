"""Train a Hugging Face classifier on photographs, and save the folder that `trapmid audit FOLDER` opens.

Run: python examples/own_huggingface.py photos.parquet --identities 20 --out mine-huggingface

`photos.parquet` has the columns image (a struct with `bytes`) and identity. The folder holds config.json with the names
of the classes, model.safetensors, and preprocessor_config.json with the size and the normalisation of the images.
"""

import argparse
from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments, ViTImageProcessor

from own_model import SIZE, read  # the example beside this one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--identities", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("mine-huggingface"))
    chosen = parser.parse_args()
    torch.manual_seed(0)
    images, labels, names = read(chosen.photos, chosen.identities)
    processor = ViTImageProcessor(size=SIZE, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    pixels = processor(list(images), do_rescale=False, return_tensors="pt")["pixel_values"]
    rows = [{"pixel_values": x, "labels": y} for x, y in zip(pixels, labels, strict=True)]
    held_out = rows[::10]
    learned = [row for number, row in enumerate(rows) if number % 10]

    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    args = TrainingArguments(
        chosen.out / "trainer",
        num_train_epochs=chosen.epochs,
        per_device_train_batch_size=32,
        learning_rate=2e-3,
        weight_decay=0.05,
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(ResNetForImageClassification(config), args, train_dataset=learned)
    trainer.train()
    answers = trainer.predict(held_out)
    accuracy = (answers.predictions.argmax(1) == answers.label_ids).mean()
    trainer.model.save_pretrained(chosen.out)
    processor.save_pretrained(chosen.out)
    print(f"{len(names)} identities, accuracy {accuracy:.1%} on {len(held_out)} images that were held out")


if __name__ == "__main__":
    main()

"""A crop bank of three objects, and a tiny BLIP-2 that has seen nothing else."""

from pathlib import Path

import numpy as np
import torch

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models import train_blip2
from labelgen.demo.small_models.crop_bank import CropBank, cut_crops
from labelgen.demo.small_models.pictures import ObjectWords, Picture


def small_bank() -> CropBank:
    """Crops of a road, a bus and a dog before the sky."""
    objects = np.zeros((60, 90), np.uint16)  # sky
    objects[30:] = 1
    objects[20:40, 30:60] = 2
    objects[20:40, 70:80] = 3
    words = {
        1: ObjectWords(1, "flat.driveable_surface", "road", (), "grey", "in the street"),
        2: ObjectWords(2, "vehicle.bus.rigid", "bus", ("coach",), "red", "on the road", "parked"),
        3: ObjectWords(3, "animal", "dog", (), "brown", "on the road"),
    }
    noise = np.random.default_rng(0).integers(0, 30, (60, 90, 3))
    rgb = (np.choose(objects, [200, 50, 100, 150])[..., None] + noise).astype(np.uint8)
    return cut_crops(
        [Picture(rgb, objects, words)],
        load_taxonomy("nuscenes16"),
        size=train_blip2.IMAGE_SIZE,
        grid=train_blip2.IMAGE_SIZE // train_blip2.PATCH_SIZE,
        mean=(115.0, 115.0, 115.0),
        scale=1.8,
        background=0.5,
        disturb=False,
    )


def write_blip2_folder(folder: Path) -> Path:
    """An untrained BLIP-2, as transformers writes it."""
    bank = small_bank()
    processor = train_blip2.make_processor(bank)
    pixels = torch.from_numpy(bank.crops.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    train_blip2.write_blip2(train_blip2.make_model(processor, pixels), processor, folder)
    return folder

"""UOV / AFOV: regions with features per image, and labels per point, below one ``data/<MODEL>`` folder.

Targets the ``_ov`` loader (png, json, pt) and the zero-shot loader (npy) of the published code.
"""

from __future__ import annotations

import io

import numpy as np
import torch

from labelgen.core.records import NO_REGION, UNLABELLED
from labelgen.distill.vocabulary import load_vocabulary
from labelgen.exports.classes import class_ids, dataset_ids
from labelgen.exports.output import Output
from labelgen.exports.superpixels import image_regions
from labelgen.exports.tables import image_names
from labelgen.exports.words import Words, numbered
from labelgen.runs import Run, RunFrame

_MOST = 149  # ids stay below 150, and 0 is the background


def write_uov(run: Run, out: Output) -> None:
    """For every image ``superpixels/<token>.png`` (0 none, 1..K), ``.json`` and ``.pt`` (K + 1, D); for every
    frame ``lidarseg_ov/<token>_lidarseg.npy``, int32 region * 100 + general class, -1 for none.

    ``superpixels/text_embedding.pt`` (W, D) has a row for every word, void words included; a region's
    ``category_id`` is the number of the word that won it, as `labelgen.exports.words` has them.

    Regions that void words won, and those beyond the 149 largest of an image, become 0.

    Raises:
        UserError: the plan has no categories, or the run's text encoder is not here.
    """
    ids, names = dataset_ids(run), image_names(run)
    words: Words | None = None
    for frame in map(run.frame, run.frames):
        if words is None:
            words = _words(frame)
            _save(out, "superpixels/text_embedding.pt", torch.from_numpy(words.feature))
        semantics = frame.semantics
        for name, rows, painted in image_regions(frame, names):
            label = semantics.label[rows]
            seen, counts = np.unique(painted[painted >= 0], return_counts=True)
            counts, seen = counts[label[seen] != UNLABELLED], seen[label[seen] != UNLABELLED]
            kept = np.sort(seen[np.argsort(-counts, kind="stable")[:_MOST]])
            number = np.zeros(int(painted.max(initial=-1)) + 2, np.uint8)
            number[kept] = np.arange(1, len(kept) + 1)
            out.png(f"superpixels/{name}.png", number[painted])
            feature = semantics.feature[rows][kept]
            won = words.won(feature, label[kept])
            area = {int(index): int(count) for index, count in zip(seen, counts, strict=True)}
            out.json(
                f"superpixels/{name}.json",
                [
                    {"id": place, "category_id": int(word), "area": area[int(index)]}
                    for place, (index, word) in enumerate(zip(kept, won, strict=True), start=1)
                ],
            )
            table = np.concatenate([np.zeros((1, feature.shape[1]), np.float32), feature.astype(np.float32)])
            _save(out, f"superpixels/{name}.pt", torch.from_numpy(table))
        labels = class_ids(frame)
        region = frame.labels.region.astype(np.int32)
        value = region * 100 + ids[labels]
        value[(labels == UNLABELLED) | (region == NO_REGION)] = -1
        buffer = io.BytesIO()
        np.save(buffer, value.astype(np.int32), allow_pickle=False)
        out.write(f"lidarseg_ov/{frame.frame_id}_lidarseg.npy", buffer.getvalue())


def _words(frame: RunFrame) -> Words:
    semantics, taxonomy = frame.run.info.config.get("semantics", {}), frame.run.taxonomy
    encoder = frame.attributes.get("text_encoder")
    vocabulary = load_vocabulary(semantics, encoder, taxonomy, otherwise="")
    return Words(vocabulary, numbered(taxonomy))


def _save(out: Output, name: str, tensor: torch.Tensor) -> None:
    torch.save(tensor.contiguous(), out.path(name))

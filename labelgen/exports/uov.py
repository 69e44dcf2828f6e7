"""UOV / AFOV: regions with features per image, and labels per point, below one ``data/<MODEL>`` folder.

Targets the ``_ov`` loader (png, json, pt) and the zero-shot loader (npy) of the published code.
"""

from __future__ import annotations

import io

import numpy as np
import torch

from labelgen.errors import UserError
from labelgen.exports.output import Output
from labelgen.exports.source import Source
from labelgen.exports.superpixels import image_regions
from labelgen.records import NO_REGION, UNLABELLED

_MOST = 149  # ids stay below 150, and 0 is the background


def write_uov(source: Source, out: Output) -> None:
    """For every image ``superpixels/<token>.png`` (0 none, 1..K), ``.json`` and ``.pt`` (K + 1, D); for every
    frame ``lidarseg_ov/<token>_lidarseg.npy``, int32 region * 100 + general class, -1 for none.

    Regions that void words won, and those beyond the 149 largest of an image, become 0.

    Raises:
        UserError: the plan has no categories, or the shards no text embeddings.
    """
    ids = source.dataset_ids()
    embeddings = None
    for frame, stored in source.frames():
        embeddings = stored.attributes.get("text_embeddings") if embeddings is None else embeddings
        semantics = stored.semantics
        for name, rows, painted in image_regions(source, frame, stored):
            label = semantics.label[rows]
            seen, counts = np.unique(painted[painted >= 0], return_counts=True)
            counts, seen = counts[label[seen] != UNLABELLED], seen[label[seen] != UNLABELLED]
            kept = np.sort(seen[np.argsort(-counts, kind="stable")[:_MOST]])
            number = np.zeros(int(painted.max(initial=-1)) + 2, np.uint8)
            number[kept] = np.arange(1, len(kept) + 1)
            out.png(f"superpixels/{name}.png", number[painted])
            area = {int(index): int(count) for index, count in zip(seen, counts, strict=True)}
            out.json(
                f"superpixels/{name}.json",
                [
                    {"id": place, "category_id": int(label[index]), "area": area[int(index)]}
                    for place, index in enumerate(kept, start=1)
                ],
            )
            feature = semantics.feature[rows][kept].astype(np.float32)
            table = np.concatenate([np.zeros((1, feature.shape[1]), np.float32), feature])
            _save(out, f"superpixels/{name}.pt", torch.from_numpy(table))
        labels = source.labels(stored)
        region = stored.labels.region.astype(np.int32)
        value = region * 100 + ids[labels]
        value[(labels == UNLABELLED) | (region == NO_REGION)] = -1
        buffer = io.BytesIO()
        np.save(buffer, value.astype(np.int32), allow_pickle=False)
        out.write(f"lidarseg_ov/{frame.frame_id}_lidarseg.npy", buffer.getvalue())
    if embeddings is None:
        raise UserError(f"{source.run.url}: the shards hold no text embeddings, which this format needs")
    _save(out, "superpixels/text_embedding.pt", torch.tensor(embeddings, dtype=torch.float32))


def _save(out: Output, name: str, tensor: torch.Tensor) -> None:
    torch.save(tensor.contiguous(), out.path(name))

"""Class evidence of regions averaged with that of the regions of the whole run that look most like them.

After CorrCLIPv2: what a text encoder says of one crop is noisy, and a run holds many crops of each kind of
thing. A region's evidence is mixed with that of its nearest neighbours among the regions of all other frames,
by their image features.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelgen.core.errors import UserError
from labelgen.core.precision import largest_bits
from labelgen.core.records import UNLABELLED, Semantics
from labelgen.core.settings import Settings
from labelgen.io.bounded import read_npz
from labelgen.labels.vote import class_votes


class RetrievalSettings(Settings):
    """How much the neighbours count."""

    neighbours: int = Field(
        16, ge=1, le=1000, description="number of the nearest regions of other frames, by cosine"
    )
    weight: float = Field(
        0.5, ge=0, le=1, description="their share of the evidence; 0 leaves everything as it is"
    )
    sharpness: float = Field(
        20.0, ge=0, le=10**6, description="a neighbour's weight is exp(sharpness (cosine - 1)); 0: all alike"
    )


@dataclass(frozen=True)
class Bank:
    """Regions to be asked: an index of features, and what each of them was taken for.

    Attributes:
        feature: (M, D) float16, L2-normalised.
        votes: (M, C + 1) float16 class evidence, void last.
        frame: (M,) int32, number of the region's frame.
        frames: ids of the frames.
    """

    feature: NDArray[np.float16]
    votes: NDArray[np.float16]
    frame: NDArray[np.int32]
    frames: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.feature)

    @cached_property
    def digest(self) -> str:
        """Hash of the content (128 bits)."""
        content = hashlib.blake2b("\0".join(self.frames).encode(), digest_size=16)
        for array in (self.feature, self.votes, self.frame):
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()

    @cached_property
    def index(self) -> Any:
        """Exact neighbours by scikit-learn, block by block in float32."""
        from sklearn.neighbors import NearestNeighbors

        index = NearestNeighbors(algorithm="brute", metric="euclidean")
        return index.fit(self.feature.astype(np.float32))

    @cached_property
    def number_of(self) -> dict[str, int]:
        """Number of each frame."""
        return {frame_id: number for number, frame_id in enumerate(self.frames)}

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("feature", "votes", "frame", "frames")}

    def to_bytes(self) -> bytes:
        """As ``.npz``."""
        out = io.BytesIO()
        names = np.array([frame_id.encode() for frame_id in self.frames])
        np.savez(out, feature=self.feature, votes=self.votes, frame=self.frame, frames=names)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Bank:
        """What `to_bytes` gave; nothing in it unpacks to more than the whole has bytes.

        Raises:
            ValueError: it is something else.
        """
        feature, votes, frame, names = (
            read_npz(data, name, len(data)) for name in ("feature", "votes", "frame", "frames")
        )
        kinds = [(array.dtype.kind, array.ndim) for array in (feature, votes, frame, names)]
        if kinds != [("f", 2), ("f", 2), ("i", 1), ("S", 1)] or not len(feature) == len(votes) == len(frame):
            raise ValueError("the arrays are not features, votes and frames of regions")
        return cls(feature, votes, frame, tuple(name.decode() for name in names.tolist()))


def build_bank(frames: Iterable[tuple[str, Semantics]], most: int) -> Bank:
    """Gather the regions of a run, or an even choice of them.

    Args:
        frames: (frame id, what its regions mean), in any fixed order.
        most: regions to keep. Which ones depends on their frames' ids and their places alone, not on how many
            there are, so that it is the same for every process that asks.

    Raises:
        UserError: no region has a feature.
    """
    features, votes, owners, ranks, names = [], [], [], [], []
    held = 0
    for number, (frame_id, semantics) in enumerate(frames):
        names.append(frame_id)
        rows = np.flatnonzero(known(semantics))
        rank = _ranks(frame_id, len(semantics))[rows]
        features.append(semantics.feature[rows])
        votes.append(class_votes(semantics)[rows].astype(np.float16))
        owners.append(np.full(len(rows), number, np.int32))
        ranks.append(rank)
        held += len(rows)
        if held > 2 * most:  # let go of what will not be kept
            features, votes, owners, ranks = _thinned(features, votes, owners, ranks, most)
            held = most
    features, votes, owners, ranks = _thinned(features, votes, owners, ranks, most)
    if not features or not len(features[0]):
        raise UserError("no region of the run has a feature: there is nothing to compare")
    return Bank(features[0], votes[0], owners[0], tuple(names))


def known(semantics: Semantics) -> NDArray[np.bool_]:
    """(K,) which regions have a feature."""
    largest = largest_bits(semantics.feature)
    found: NDArray[np.bool_] = (largest > 0) & (largest < np.float16(np.inf).view(np.uint16))
    return found


def retrieve(
    bank: Bank, semantics: Semantics, frame_id: str, settings: RetrievalSettings
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Class scores of a frame's regions after retrieval.

    p' = (1 - a) p + a sum_j w_j p_j / sum_j w_j over the nearest regions j of other frames, where p are class
    probabilities with void, w_j = exp(s (cos_j - 1)), a and s as in the settings.

    Args:
        bank: to be asked.
        semantics: K rows.
        frame_id: whose regions these are: it does not ask itself.
        settings: how much the neighbours count.

    Returns:
        (K, C) float16 probabilities and (K,) uint8 labels, 255 where void wins; as they were where a region
        has no feature.

    Raises:
        ValueError: the bank's features or classes are others.
    """
    C, D = semantics.class_scores.shape[1], semantics.feature.shape[1]
    if (bank.votes.shape[1], bank.feature.shape[1]) != (C + 1, D):
        raise ValueError(f"a bank of {bank.feature.shape[1]} numbers for {bank.votes.shape[1] - 1} classes")
    scores, label = semantics.class_scores.copy(), semantics.label.copy()
    rows = np.flatnonzero(known(semantics))
    if not len(rows) or not settings.weight:
        return scores, label
    near, cosine = _nearest(bank, semantics.feature[rows], frame_id, settings.neighbours)
    other = near >= 0
    weight = np.where(other, np.exp(settings.sharpness * (cosine - 1)), 0.0)
    total = weight.sum(axis=1, keepdims=True)
    said = np.einsum("kn,knc->kc", weight, bank.votes[near].astype(np.float64)) / np.maximum(total, 1e-300)
    share = np.where(total > 0, settings.weight, 0.0)
    mixed = (1 - share) * class_votes(semantics)[rows] + share * said
    best = mixed.argmax(axis=1)
    scores[rows] = mixed[:, :C].astype(np.float16)
    label[rows] = np.where(best == C, UNLABELLED, best).astype(np.uint8)
    return scores, label


def _nearest(
    bank: Bank, feature: NDArray[np.float16], frame_id: str, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the ``count`` nearest regions of other frames, (K, count), -1 where there are fewer; cosines.

    A frame's own regions come along and are passed over; who is left with too few asks for twice as many.
    """
    own, exact = bank.number_of.get(frame_id, -1), feature.astype(np.float32)
    found = np.full((len(feature), count), -1, np.int64)
    cosine = np.zeros((len(feature), count))
    rows, wanted = np.arange(len(feature)), 2 * count
    while len(rows):
        wanted = min(wanted, len(bank))
        distance, near = bank.index.kneighbors(exact[rows], wanted)
        other = bank.frame[near] != own
        enough = (other.sum(axis=1) >= count) | (wanted == len(bank))
        # Others first, in their order.
        first = np.argsort(~other[enough], axis=1, kind="stable")[:, :count]
        width = first.shape[1]
        there = np.take_along_axis(other[enough], first, axis=1)
        found[rows[enough], :width] = np.where(there, np.take_along_axis(near[enough], first, axis=1), -1)
        square = np.take_along_axis(distance[enough], first, axis=1).astype(np.float64) ** 2
        cosine[rows[enough], :width] = 1 - square / 2
        rows, wanted = rows[~enough], 2 * wanted
    return found, cosine


def _ranks(frame_id: str, count: int) -> NDArray[np.uint64]:
    """A number for each region, as good as random, that is always the same."""
    seed = int.from_bytes(hashlib.blake2b(frame_id.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)


def _thinned(features: Any, votes: Any, owners: Any, ranks: Any, most: int) -> tuple[Any, Any, Any, Any]:
    """The ``most`` rows of lowest rank, in their order, of each list of arrays."""
    if not features:
        return features, votes, owners, ranks
    rank = np.concatenate(ranks)
    keep = np.sort(np.argsort(rank, kind="stable")[:most])
    return tuple([np.concatenate(parts)[keep]] for parts in (features, votes, owners, ranks))  # type: ignore[return-value]

"""Passes that give regions other classes and vote again: another taxonomy, or retrieval over the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError, UserError
from labelgen.core.records import UNLABELLED, Failure, FrameRecord, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.engine.derivation import Derived
from labelgen.engine.failures import failure_by
from labelgen.engine.voting import votable
from labelgen.geometry import ProjectionSettings
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.labels.retrieval import Bank, RetrievalSettings, known, retrieve
from labelgen.labels.revote import Ballot
from labelgen.labels.settings import VoteSettings
from labelgen.runs import Run, RunFrame, Scene
from labelgen.semantics.prompts import Vocabulary
from labelgen.semantics.strategies import Strategy, combine

#: What both store: labels, and the regions' classes.
STORED = ("points", "regions/class_scores", "regions/label")
_LARGEST_BANK = 1 << 34


@dataclass(frozen=True)
class Relabel:
    """Classes of another taxonomy from the stored features.

    Attributes:
        taxonomy: the new classes.
        vocabulary: text features of its words, by the text encoder that the features were made for; None
            keeps the stored scores, for a taxonomy that scores as the run's does.
        encoder: hash of that encoder's weights.
        temperature: of the softmax over an image's classes.
        strategy: what counts, where regions have captions.
        caption_temperature: of the softmax over a caption's classes.
        vote: settings of the run's vote.
        projection: the depth test's tolerance.
    """

    taxonomy: Taxonomy
    vocabulary: Vocabulary | None
    encoder: str
    temperature: float
    strategy: Strategy
    caption_temperature: float
    vote: VoteSettings
    projection: ProjectionSettings
    name: str = "relabelled"
    stored: tuple[str, ...] = STORED
    points: frozenset[str] = frozenset()

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {
            "taxonomy": self.taxonomy.digest(),
            "text_encoder": self.encoder,
            "temperature": self.temperature,
            "caption_strategy": self.strategy,
            "caption_temperature": self.caption_temperature,
            "labels": self.vote.covered(),
            "projection": self.projection.covered(),
        }

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        before = translation(taxonomy, self.taxonomy)
        for one in scene:
            try:
                record = votable(one, self.vote)
                semantics = self.classify(record.semantics)
                yield voted_anew(one, record, semantics, self.vote, self.projection, before)
            except (ValueError, FrameError) as error:
                yield failure_by(one.entry, self.name, error)

    def classify(self, stored: Semantics) -> Semantics:
        """A frame's regions with the new classes; all void where a region has no feature."""
        if self.vocabulary is None:
            return stored
        blind = ~known(stored)
        feature = np.where(blind[:, None], np.float16(0), stored.feature) if blind.any() else stored.feature
        scores, label = self.vocabulary.score(feature, self.temperature)
        semantics = replace(stored, class_scores=scores, label=label)
        if stored.caption_feature is not None:
            scores, label = combine(
                semantics, stored.caption_feature, self.vocabulary, self.strategy, self.caption_temperature
            )
            blind &= ~stored.caption_feature.any(axis=1)
        scores[blind], label[blind] = 0, UNLABELLED
        return replace(semantics, class_scores=scores, label=label)


@dataclass(frozen=True)
class Retrieve:
    """Classes of each region averaged with those of the regions that look most like it, run-wide.

    Attributes:
        run: folder or address of the derived run, where `keep_bank` has left the regions to be asked.
        bank: their digest.
        retrieval: how many neighbours count for how much.
        vote: settings of the run's vote.
        projection: the depth test's tolerance.
    """

    run: str
    bank: str
    retrieval: RetrievalSettings
    vote: VoteSettings
    projection: ProjectionSettings
    name: str = "retrieval"
    stored: tuple[str, ...] = STORED
    points: frozenset[str] = frozenset()

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {
            "retrieval": self.retrieval.covered(),
            "bank": self.bank,
            "labels": self.vote.covered(),
            "projection": self.projection.covered(),
        }

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        bank = load_bank(self.run, self.bank)
        for one in scene:
            try:
                record = votable(one, self.vote)
                scores, label = retrieve(bank, record.semantics, one.frame_id, self.retrieval)
                found = replace(record.semantics, class_scores=scores, label=label)
                yield voted_anew(one, record, found, self.vote, self.projection, None)
            except (ValueError, FrameError) as error:
                yield failure_by(one.entry, self.name, error)


def keep_bank(run: str, bank: Bank) -> None:
    """Leave a bank in a run's folder, where every process that does a scene of it finds it.

    One that is there and damaged is replaced.

    Raises:
        UserError: the folder cannot be written.
    """
    store, key = open_store(run), _bank_key(bank.digest)
    try:
        store.prepare()
        if not store.create(key, bank.to_bytes()) and _kept_bank(store, bank.digest) is None:
            store.replace(key, bank.to_bytes())
    except OSError as error:
        raise UserError(f"cannot write to {store.url}: {error.strerror or error}") from error


@lru_cache(maxsize=1)
def load_bank(run: str, digest: str) -> Bank:
    """The bank of a run, read once per process.

    Raises:
        UserError: it is not there, or damaged.
    """
    store = open_store(run)
    try:
        bank = _kept_bank(store, digest)
    except OSError as error:
        raise UserError(f"cannot read {store.url}/{_bank_key(digest)}: {error.strerror}") from error
    if bank is None:
        raise UserError(
            f"{store.url}/{_bank_key(digest)} is not as it was written; the same command again replaces it"
        )
    return bank


def _kept_bank(store: Store, digest: str) -> Bank | None:
    try:
        bank = Bank.from_bytes(store.read(_bank_key(digest), _LARGEST_BANK))
    except ValueError:
        return None
    return bank if bank.digest == digest else None


def _bank_key(digest: str) -> str:
    return f"bank-{digest}.npz"


def voted_anew(
    one: RunFrame,
    stored: FrameRecord,
    semantics: Semantics,
    vote: VoteSettings,
    projection: ProjectionSettings,
    classes: NDArray[np.uint8] | None,
) -> Derived:
    """Labels of a frame whose regions have other classes.

    Args:
        one: the stored frame.
        stored: what the vote needs of it.
        semantics: the new classes.
        vote: settings of the vote.
        projection: the depth test's tolerance.
        classes: (256,) new class of each old one; None: they are the same. A thing's number stays where its
            class does.
    """
    record = replace(stored, semantics=semantics)
    if classes is not None:
        record = replace(record, labels=replace(stored.labels, label=classes[stored.labels.label]))
    ballot = Ballot(record, one.planned.cameras, vote, projection, keep_visible=True)
    labels = ballot.labels()
    labels.instance[labels.label == UNLABELLED] = 0
    return Derived(one.frame_id, labels, semantics=semantics, record=stored)


def translation(before: Taxonomy, after: Taxonomy) -> NDArray[np.uint8]:
    """(256,) uint8: id in ``after`` of the class of the same name, 255 for none."""
    ids = {spec.name: spec.id for spec in after.classes}
    table = np.full(256, UNLABELLED, np.uint8)
    for spec in before.classes:
        table[spec.id] = ids.get(spec.name, UNLABELLED)
    return table


def check_voted(run: Run, doing: str) -> None:
    """Refuse a run whose labels did not come from the vote of its regions.

    Raises:
        UserError: says which run to take, and what to do afterwards.
    """
    below = run
    while not below.voted:
        if below.parent is None:
            raise UserError(
                f"the labels of {below.url} come from another tool: its regions did not vote for them"
            )
        below = below.parent
    if below is not run:
        place = below.url if "://" in below.url else os.path.normpath(below.url)
        raise UserError(
            f"{run.url} was made by `{run.operation}` from {place}, and its labels are not what its "
            f"regions vote for: {doing} {place}, then repeat what came after"
        )

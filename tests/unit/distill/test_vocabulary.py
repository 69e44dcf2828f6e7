"""Words of the taxonomy in the space of a run's features."""

from __future__ import annotations

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.distill.vocabulary import load_vocabulary
from labelgen.semantics.registry import describe_encoder
from labelgen.semantics.settings import OpenClipSettings

TAXONOMY = load_taxonomy("nuscenes16")


def test_words_of_the_runs_own_encoder():
    weights = describe_encoder(OpenClipSettings()).weights
    found = load_vocabulary({}, {"weights": weights}, TAXONOMY)
    assert len(found.word_feature) == sum(len(spec.words) for spec in TAXONOMY.classes) + len(TAXONOMY.void)
    np.testing.assert_allclose(np.linalg.norm(found.word_feature, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("semantics", "reason"),
    [
        ({}, r"other weights here .* vocabulary=classes"),
        ({"model": "ViT-B-16"}, r"cannot be loaded .* labelgen models prefetch"),
        ({"model": 3}, "cannot be loaded"),
    ],
)
def test_another_encoder_is_refused(semantics, reason):
    with pytest.raises(UserError, match=reason):
        load_vocabulary(semantics, {"weights": "of another file"}, TAXONOMY)

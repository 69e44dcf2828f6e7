"""Class scores against the formula written out, and the rules about words."""

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.semantics.prompts import _half, _widened, build_vocabulary


def taxonomy(void=("sky", "cloud"), templates=("a {}.", "the {}")):
    entry = {"color": [0, 0, 0], "thing": False}
    return Taxonomy.from_dict(
        {
            "name": "test",
            "templates": list(templates),
            "classes": [
                {"name": "car", "words": ["car", "taxi", "van"], **entry},
                {"name": "tree", "words": ["tree"], **entry},
                {"name": "road", "words": ["road", "lane"], **entry},
            ],
            "void": list(void),
        }
    )


class HashEncoder:
    """Unit vectors drawn from each text's bytes."""

    def __init__(self):
        self.seen = []

    def embed(self, texts):
        self.seen += texts
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.float32([row / np.linalg.norm(row) for row in rows])


def literal_scores(encoder, tax, feature, temperature):
    """The documented formula, loop by loop, in float64."""
    groups = [list(spec.words) for spec in tax.classes] + ([list(tax.void)] if tax.void else [])
    out = []
    for f in feature.astype(np.float64):
        logits = []
        for words in groups:
            best = -np.inf
            for word in words:
                mean = np.mean([encoder.embed([t.format(word)])[0] for t in tax.templates], axis=0)
                best = max(best, float(f @ (mean / np.linalg.norm(mean))))
            logits.append(best / temperature)
        e = np.exp(np.array(logits) - max(logits))
        out.append(e / e.sum())
    return np.array(out)


@pytest.mark.parametrize("void", [("sky", "cloud"), ()])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_scores_follow_the_formula(void, temperature):
    tax, encoder = taxonomy(void), HashEncoder()
    feature = np.random.default_rng(0).normal(size=(50, 8))
    feature = (feature / np.linalg.norm(feature, axis=1, keepdims=True)).astype(np.float16)
    scores, label = build_vocabulary(encoder, tax).score(feature, temperature)
    want = literal_scores(encoder, tax, feature, temperature)
    np.testing.assert_allclose(scores, want[:, :3], atol=1e-3)
    expected = want.argmax(axis=1)
    np.testing.assert_array_equal(label, np.where(expected == 3, 255, expected))
    missing = 1 - scores.astype(np.float32).sum(axis=1)
    np.testing.assert_allclose(missing, want[:, 3] if void else 0, atol=2e-3)
    assert (255 in label) == bool(void)


def test_prompts_are_all_words_in_all_templates():
    encoder = HashEncoder()
    vocabulary = build_vocabulary(encoder, taxonomy())
    assert len(encoder.seen) == 8 * 2
    assert encoder.seen[:3] == ["a car.", "the car", "a taxi."]
    np.testing.assert_array_equal(vocabulary.word_class, [0, 0, 0, 1, 2, 2, 3, 3])
    np.testing.assert_allclose(np.linalg.norm(vocabulary.word_feature, axis=1), 1, rtol=1e-6)


def test_class_embedding_is_the_mean_of_the_words():
    vocabulary = build_vocabulary(HashEncoder(), taxonomy())
    embedding = vocabulary.class_embedding()
    assert embedding.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-6)
    mean = vocabulary.word_feature[:3].mean(axis=0)
    np.testing.assert_allclose(embedding[0], mean / np.linalg.norm(mean), rtol=1e-6)


def test_nothing_to_score():
    scores, label = build_vocabulary(HashEncoder(), taxonomy()).score(np.zeros((0, 8), np.float16), 0.1)
    assert scores.shape == (0, 3)
    assert label.shape == (0,)


def test_a_word_of_two_classes_is_refused():
    data = taxonomy().to_dict()
    data["classes"][1]["words"] = ["tree", "Taxi"]
    with pytest.raises(UserError, match="'Taxi' is in car and in tree"):
        Taxonomy.from_dict(data)


def test_the_shipped_taxonomy_has_words_for_every_class():
    vocabulary = build_vocabulary(HashEncoder(), load_taxonomy("nuscenes16"))
    assert vocabulary.class_embedding().shape == (16, 8)
    assert set(vocabulary.word_class) == set(range(17))


def test_the_smallest_scores_are_rounded_as_numpy_rounds_them():
    rng = np.random.default_rng(0)
    steps = np.arange(2100) / 2 * 2.0**-24  # around all that are tiny, ties among them
    share = np.concatenate([steps, rng.random(500), 10.0 ** rng.uniform(-12, 0, 500), [0.0, 1.0, 2.0**-14]])
    table = share[:3000].reshape(300, 10)
    assert _half(table).tobytes() == table.astype(np.float16).tobytes()
    assert _half(table.T).tobytes() == table.T.astype(np.float16).tobytes()


def test_every_half_is_widened_to_itself():
    bits = np.arange(65536, dtype=np.uint16).reshape(64, 1024)
    half = bits.view(np.float16)
    there = np.isfinite(half)
    wide = _widened(bits)
    assert wide[there].tobytes() == half[there].astype(np.float64).tobytes()
    assert np.isinf(wide[~there]).all()

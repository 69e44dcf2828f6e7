"""Dense maps as they are stored: resampled to the run's grid, in 16 or 8 bits."""

import numpy as np
import pytest

from labelgen.config import RunConfig
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.settings import DenseFeatureSettings
from labelgen.semantics.stored_maps import store_dense


def a_map(h, w, seed, size=(90, 160)):
    feature = np.random.default_rng(seed).normal(size=(h, w, 5)).astype(np.float32)
    return DenseMap(feature / np.linalg.norm(feature, axis=-1, keepdims=True), size)


def test_the_same_grid_keeps_the_cells():
    maps = [a_map(3, 4, 0), None, a_map(3, 4, 1)]
    stored = store_dense(maps, DenseFeatureSettings(grid=(3, 4)))
    assert stored.values.dtype == np.float16
    np.testing.assert_allclose(stored.values[0], maps[0].feature, atol=2e-3)
    np.testing.assert_allclose(stored.values[2], maps[2].feature, atol=2e-3)
    assert not stored.values[1].any()
    assert stored.size.tolist() == [[160, 90], [0, 0], [160, 90]]


def test_another_grid_reads_the_map_at_its_cells_centres():
    one = a_map(6, 8, 2)
    stored = store_dense([one], DenseFeatureSettings(grid=(2, 3)))
    for i in range(2):
        for j in range(3):
            centre = np.array([[(j + 0.5) * 160 / 3 - 0.5, (i + 0.5) * 90 / 2 - 0.5]])
            np.testing.assert_allclose(stored.values[0, i, j], one.at(centre)[0], atol=2e-3)


def test_eight_bits_err_by_half_a_step():
    maps = [a_map(3, 4, 0), None]
    stored = store_dense(maps, DenseFeatureSettings(grid=(3, 4), dtype="int8"))
    assert stored.values.dtype == np.int8
    error = np.abs(stored.decode()[0] - maps[0].feature).max(axis=-1)
    assert (error <= np.abs(maps[0].feature).max(axis=-1) / 254 * 1.1).all()
    assert not stored.decode()[1].any()


def test_no_image_no_map():
    assert store_dense([None, None], DenseFeatureSettings()) is None


@pytest.mark.parametrize("text", ["captions", "dense_features"])
def test_what_is_not_asked_for_is_not_in_the_fingerprint(text):
    assert not any(key.startswith(text[:7]) for key in RunConfig().label_settings()["semantics"])
    on = {"captions": "blip2"} if text == "captions" else {"dense_features": {}}
    settings = RunConfig.model_validate({"semantics": on}).label_settings()["semantics"]
    assert text in settings
    assert "caption_checkpoint" not in settings

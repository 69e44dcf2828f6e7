"""Fetching and checking of weights, without a network."""

import hashlib

import pytest

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.doctor import weights as fetch
from labelgen.doctor.models import list_models
from labelgen.doctor.weights import check_models, fetch_models


def config_of(path, **regions):
    return RunConfig.model_validate(
        {"regions": {"model": "vit_b", "checkpoint": str(path), **regions}, "semantics": {"model": "demo"}}
    )


def test_a_damaged_public_checkpoint_is_named_with_both_hashes(tmp_path):
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(b"cut off")
    found = hashlib.md5(b"cut off").hexdigest()
    first = next(check_models(config_of(path)))
    assert (first.stage, first.fit) == ("regions", False)
    assert "01ec64" in first.detail
    assert found in first.detail
    with pytest.raises(UserError, match=found):
        fetch_models(config_of(path))


def test_a_missing_one_is_fetched_whole_or_not_at_all(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.setattr(fetch, "SAM_URL", source.as_uri() + "/{name}")
    path = tmp_path / "weights" / "sam_vit_b_01ec64.pth"
    with pytest.raises(UserError, match="cannot be fetched"):
        fetch_models(config_of(path))
    assert not list(path.parent.iterdir())
    (source / path.name).write_bytes(b"another file")
    told = []
    with pytest.raises(UserError, match="should begin with 01ec64"):
        fetch_models(config_of(path), lambda done, total: told.append((done, total)))
    assert told == [(12, 12)]


def test_backends_without_weights_are_fit(tmp_path):
    first = next(check_models(RunConfig.model_validate({"regions": {"backend": "superpixel"}})))
    assert first.fit
    assert first.name == "superpixel:slic"


def test_the_list_knows_the_hub_models(tmp_path):
    entries = {(entry.backend, entry.model): entry for entry in list_models(tmp_path)}
    assert ("sam2", "facebook/sam2.1-hiera-large") in entries
    assert "SAM License" in entries["sam3", "facebook/sam3"].licence
    assert ("files", "") in entries

"""The hub: what is cached needs no network, and one out of reach is said at once, with the way round it."""

import socket

import pytest
from huggingface_hub import constants

from labelgen.core.errors import UserError
from labelgen.models import hub
from labelgen.models.hub import cached_folder, fetching, hub_file, hub_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a hub at an address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def store(cache, model, *names):
    """Put files of a model into the cache as the hub's client does."""
    folder = cache / f"models--{model.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("ab" * 20)
    for name in names:
        (snapshot / name).write_text("{}")
    return snapshot


def never(*args, **kwargs):
    raise AssertionError("a hub that does not answer is asked again")


def test_a_hub_out_of_reach(cache, monkeypatch):
    monkeypatch.setattr(hub, "hf_hub_download", never)
    with pytest.raises(UserError, match=r"refused.*labelgen models prefetch.*set regions\.checkpoint=/path"):
        hub_folder("facebook/sam2", "regions.checkpoint")
    with pytest.raises(UserError, match=r"^the weights is not on this machine .*semantics\.checkpoint"):
        hub_file("laion/clip", ("a.safetensors", "a.bin"), "the weights", "semantics.checkpoint")


def test_offline_by_the_users_wish(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        hub_folder("facebook/sam2", "regions.checkpoint")


def test_what_is_cached_needs_no_hub(cache):
    snapshot = store(cache, "facebook/sam2", "config.json", "model.safetensors")
    assert hub_folder("facebook/sam2", "regions.checkpoint") == snapshot
    store(cache, "laion/clip", "b.bin")
    assert hub_file("laion/clip", ("a.safetensors", "b.bin"), "", "").name == "b.bin"


def test_half_a_download_is_no_model(cache):
    store(cache, "facebook/sam2", "config.json")
    assert cached_folder("facebook/sam2") is None
    with pytest.raises(UserError, match="cannot be fetched"):
        hub_folder("facebook/sam2", "regions.checkpoint")


def test_no_name_of_a_model(cache):
    with pytest.raises(UserError, match="cannot be fetched"):
        hub_folder("no/such model", "regions.checkpoint")


def test_another_server_out_of_reach(cache):
    with (
        pytest.raises(UserError, match=r"tokenizer x is not .*--set semantics\.checkpoint"),
        fetching("tokenizer x", "semantics.checkpoint", constants.ENDPOINT),
    ):
        never()

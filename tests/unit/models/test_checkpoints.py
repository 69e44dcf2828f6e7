"""Files of weights that are something else, or hold something else: said by name, without bad advice."""

import gzip
import io
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from labelgen.core.errors import UserError
from labelgen.models.checkpoints import load_plain, read_state_dict
from labelgen.models.hub import weight_files
from labelgen.regions.sam import load_sam
from labelgen.regions.sam_weights import describe_sam


def saved(content, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


WEIGHTS = {"weight": torch.arange(600.0)}
FILES = [
    (b"", "is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
    (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    (b'{"error": "Repository not found"}', "a JSON document"),
    (gzip.compress(saved(WEIGHTS)), "compressed by gzip"),
    (zipped("readme.txt", b"unpack me"), "a ZIP archive of something else"),
    (saved(WEIGHTS)[:-900], "it is truncated"),
    (saved(WEIGHTS, _use_new_zipfile_serialization=False)[:-900], "cannot be read, fetch it again"),
    (bytes(4096), "nothing but zero bytes"),
    (saved(torch.nn.Linear(2, 2)), r"objects other than tensors \(torch\.nn\.modules\.linear\.Linear\)"),
    (saved({"model": WEIGHTS, "epoch": 3}), "holds a dict of 'model', 'epoch', not a state dict"),
    (saved([1, 2]), "holds a list, not a state dict"),
]


@pytest.mark.parametrize(("content", "words"), FILES, ids=[words[:24] for _, words in FILES])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_it_is_is_said(tmp_path, content, words, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    if suffix == ".safetensors" and content[:2] in (b"PK", b"\x80\x02") and "truncated" not in words:
        words = "cannot be read|ZIP archive"
    with pytest.raises(UserError, match=words) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert str(path) in message
    assert "weights_only" not in message
    assert "\n" not in message
    assert caught.value.__cause__ is None  # whose traceback would hold torch's advice


def test_torchscript_is_not_run(tmp_path):
    path = tmp_path / "ViT.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UserError, match="is a TorchScript archive") as caught:
        load_plain(path)
    assert "torch.jit.load('ViT.pt', 'cpu').state_dict()" in str(caught.value)


@pytest.mark.parametrize("zip_format", [True, False])
def test_files_of_both_formats_are_read_from_the_disk(tmp_path, zip_format):
    path = tmp_path / "weights.pt"
    path.write_bytes(saved(WEIGHTS, _use_new_zipfile_serialization=zip_format))
    assert torch.equal(load_plain(path, mapped=True)["weight"], WEIGHTS["weight"])


def test_only_files_that_are_loaded_are_weights(tmp_path):
    """A second download and what macOS leaves are not hashed; a missing part is missed."""
    assert weight_files(tmp_path) == []
    for name in ("._model.safetensors", "model (1).safetensors", "b.safetensors", "a.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    assert weight_files(tmp_path) == []
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"w": "b.safetensors", "v": "a.safetensors", "u": "b.safetensors"}}')
    assert [path.name for path in weight_files(tmp_path)] == ["a.safetensors", "b.safetensors"]
    (tmp_path / "a.safetensors").unlink()
    assert weight_files(tmp_path) == []
    index.write_text('{"weight_map": 3}')
    assert weight_files(tmp_path) == []
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]


class TestPublicSam:
    def test_a_run_refuses_another_file_under_a_public_name(self, tmp_path):
        path = tmp_path / "sam_vit_h_4b8939.pth"
        path.write_bytes(saved(WEIGHTS))
        with pytest.raises(UserError, match=r"should begin with 4b8939.*labelgen models prefetch"):
            describe_sam("vit_h", str(path), checked=True)
        own = path.rename(tmp_path / "my_sam.pth")
        assert describe_sam("vit_h", str(own), checked=True)[0] == own

    def test_a_missing_file_says_what_fetches_it(self, tmp_path):
        with pytest.raises(UserError, match=r"does not exist; `labelgen models prefetch`"):
            describe_sam("vit_h", str(tmp_path / "sam_vit_h_4b8939.pth"))
        with pytest.raises(UserError, match="labelgen models prefetch"):
            describe_sam("vit_h", None)

    def test_another_size_is_said(self, tmp_path):
        path = tmp_path / "sam.safetensors"
        save_file({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, path)
        with pytest.raises(UserError, match=r"is a Sam of size vit_b: set regions\.model=vit_b"):
            load_sam("vit_h", str(path))

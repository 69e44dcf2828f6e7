"""Sam's checkpoints: what is missing, damaged or foreign is refused with its name."""

import pytest
import torch
from safetensors.torch import save_file

from labelgen.core.errors import UserError
from labelgen.regions.registry import make_proposer
from labelgen.regions.sam import load_sam
from labelgen.regions.settings import SamSettings


class TestCheckpoints:
    def test_missing_path(self, tmp_path):
        with pytest.raises(UserError, match=r"nothing\.pth does not exist"):
            load_sam("vit_b", str(tmp_path / "nothing.pth"))

    def test_public_model_without_checkpoint(self):
        with pytest.raises(UserError, match=r"regions\.checkpoint.*sam_vit_h_4b8939\.pth"):
            load_sam("vit_h", None)

    def test_unknown_model(self):
        with pytest.raises(UserError, match="vit_x"):
            make_proposer(SamSettings(model="vit_x"), device="cpu")

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_truncated(self, tmp_path, suffix):
        path = tmp_path / f"cut{suffix}"
        state = {"weight": torch.zeros(100, 100)}
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(UserError, match=f"cut{suffix} cannot be read"):
            load_sam("demo", str(path))

    def test_another_models_keys(self, tmp_path):
        path = tmp_path / "other.safetensors"
        save_file({"backbone.weight": torch.zeros(2)}, path)
        with pytest.raises(UserError, match=r"keys are missing, first .*backbone\.weight"):
            load_sam("demo", str(path))

    def test_wrong_shape(self, tmp_path, tiny_sam):
        path = tmp_path / "tiny.safetensors"
        save_file({key: value.contiguous() for key, value in tiny_sam[0].state_dict().items()}, path)
        with pytest.raises(UserError, match=r"tiny\.safetensors does not fit sam:demo.*has shape"):
            load_sam("demo", str(path))

    def test_code_in_a_pickle_is_never_run(self, tmp_path):
        path = tmp_path / "evil.pth"
        mark = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(mark), "w"))

        torch.save({"weight": Evil()}, path)
        with pytest.raises(UserError, match=r"evil\.pth"):
            load_sam("demo", str(path))
        assert not mark.exists()

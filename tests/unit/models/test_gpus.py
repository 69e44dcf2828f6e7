"""A driver that names GPUs which torch cannot use, and an nvidia-smi that says anything or never ends."""

import os

import pytest
import torch

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.doctor import machine
from labelgen.engine.ray import doctor
from labelgen.models import execution, gpus
from labelgen.models.execution import select_device
from labelgen.models.gpus import ask, driver_problem, named_gpus

H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 535.104.05"
#: Of a test that is about machines whose GPU cannot be used.
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Makes an nvidia-smi of a shell script, which counts here instead of this machine's own."""
    monkeypatch.setattr(gpus, "KERNEL", tmp_path / "kernel")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(script: str) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        named_gpus.cache_clear()

    yield install
    named_gpus.cache_clear()


def kernel_has(folder, *models):
    for number, model in enumerate(models):
        path = folder / "kernel" / f"0000:0{number}:00.0" / "information"
        path.parent.mkdir(parents=True)
        path.write_text(f"Model: \t\t {model}\nIRQ:   \t\t 16\n")


def test_gpus_are_named_as_the_driver_does(smi):
    smi(f"echo '{H100}'; echo '{H100}'")
    found = named_gpus()
    assert found == gpus.Gpus(("NVIDIA H100 80GB HBM3",) * 2, (H100,) * 2, "535.104.05")


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("echo 'No devices were found'; exit 6", ""),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "version mismatch"),
        ("echo 'NVIDIA-SMI has failed because it could not communicate' >&2; exit 9", "communicate"),
        ("printf '\\033[31m\\000\\377 garbage'", "garbage"),
        ("kill -SEGV $$", "exit code -11"),
        ("exit 0", "exit code 0"),
    ],
)
def test_what_names_no_gpu_is_no_gpu(smi, script, fault):
    smi(script)
    found = named_gpus()
    assert (found.names, found.texts, found.driver) == ((), (), "")
    assert fault in found.fault
    assert bool(fault) == bool(found.fault)
    assert found.fault.isprintable()


@pytest.mark.parametrize(
    "script", ["sleep 9999", "trap '' TERM; sleep 9999 & wait", "exec >&- 2>&-; sleep 9999"]
)
def test_one_that_hangs_is_not_waited_for(smi, monkeypatch, script):
    monkeypatch.setattr(gpus, "PATIENCE_S", 0.3)
    smi(script)
    assert named_gpus().fault == "nvidia-smi: it does not answer"


def test_one_that_never_stops_talking_is_cut_short():
    code, said = ask(["yes", "x" * 100], 60.0)
    assert code is None
    assert len(said) <= gpus.LONGEST


def test_where_nvidia_smi_fails_the_kernel_knows(smi, tmp_path):
    kernel_has(tmp_path, "NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB")
    smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    assert named_gpus().names == ("NVIDIA A100-SXM4-80GB",) * 2


@pytest.mark.parametrize(
    ("cuda", "driver", "words"),
    [
        ("13.0", "535.104.05", "CUDA 13.0 needs driver 580.65.06 or newer, this one is 535.104.05"),
        ("13.0", "580.65.06", ""),
        ("13.2", "580.9.1", "580.65.06"),
        ("12.8", "525.60.13", ""),
        ("12.8", "470.57.02", "525.60.13"),
        ("99.0", "1.0", ""),
        (None, "535.104.05", ""),
        ("13.0", "", ""),
    ],
)
def test_the_driver_that_cuda_needs(cuda, driver, words):
    problem = driver_problem(cuda, driver)
    assert words in problem
    assert bool(words) == bool(problem)


@no_cuda
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_torch_cannot_use_stops(smi, monkeypatch, device):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    smi(f"echo '{H100}'")
    with pytest.raises(UserError, match=r"NVIDIA H100 80GB HBM3, but torch .* cannot use CUDA") as caught:
        select_device(device, 1)
    for words in ("CUDA 13.0 needs driver 580.65.06", "--set runtime.device=cpu"):
        assert words in str(caught.value)
    assert select_device("cpu", 1).type == "cpu"


@no_cuda
def test_hidden_gpus_are_said(smi, monkeypatch):
    smi(f"echo '{H100}'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES is '7'"):
        select_device("auto", 1)


@no_cuda
def test_without_a_gpu_the_cpu_is_taken(smi):
    smi("echo 'No devices were found'; exit 6")
    assert select_device("auto", 1).type == "cpu"


def test_other_devices_are_refused():
    with pytest.raises(UserError, match="'meta': expected auto, cpu, cuda or cuda:N"):
        select_device("meta", 1)


def test_a_gpu_that_fails_at_the_first_sum(monkeypatch):
    """Such as one that another process holds for itself, or of a kind that torch has no kernels for."""

    def zeros(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile …")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(UserError, match="no kernel image is available") as caught:
        select_device("auto", 1)
    assert "\n" not in str(caught.value)


@no_cuda
@pytest.mark.parametrize(("device", "fit"), [("auto", False), ("cpu", True)])
def test_the_doctor_asks_torch(smi, tmp_path, device, fit):
    smi(f"echo '{H100}'")
    config = RunConfig.model_validate({"regions": {"backend": "superpixel"}, "runtime": {"device": device}})
    findings = doctor.look_around(config, None, tmp_path / "run", None, thorough=False)
    (finding,) = [finding for finding in findings if finding.check == "GPUs"]
    assert finding.ok is fit
    assert "H100" in finding.detail
    assert ("cannot use CUDA" in finding.detail) is not fit


@pytest.mark.parametrize("given", [True, False])
def test_what_ray_hides_from_workers_without_a_gpu_is_asked_for(monkeypatch, given):
    seen = {}

    def asked(command, seconds, environment):
        seen.update(environment)
        return 1, "a remark\ntorch cannot use CUDA\n"

    monkeypatch.setattr(machine, "ask", asked)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    error = machine.cuda_error(given)
    assert error == "torch cannot use CUDA"
    assert ("CUDA_VISIBLE_DEVICES" in seen) is not given
    answers = machine.Answers("n", {}, "", gpus.Gpus(), error, {}, True, "", (), ())
    assert doctor._node_gpus("node", 4.0, answers).ok is False
    assert doctor._node_gpus("node", 0.0, answers).ok is True


def test_torch_that_dies_is_said(monkeypatch):
    monkeypatch.setattr(machine.sys, "executable", "/bin/false")
    assert "dies" in machine.cuda_error()
    monkeypatch.setattr(execution, "_cuda_problem", lambda device: "")
    assert select_device("cuda", 1).type == "cuda"

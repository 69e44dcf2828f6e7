"""What the doctor makes of a machine's answers, and what a machine answers."""

from dataclasses import replace

import pytest
from ray.exceptions import NodeDiedError, TaskUnschedulableError

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.doctor.machine import Answers, Questions, examine
from labelgen.doctor.weights import Check
from labelgen.engine.ray import doctor
from labelgen.engine.ray.doctor import judge, look_around
from labelgen.models.gpus import Gpus

VERSIONS = {"python": "3.11.7", "ray": "2.60.0", "labelgen": "0.1.0", "torch": "2.13.0"}
SUPERPIXELS = RunConfig.model_validate({"regions": {"backend": "superpixel"}})


@pytest.fixture
def mine(tmp_path):
    return Answers(
        host="head",
        versions=VERSIONS,
        sources_digest="ab" * 16,
        gpus=Gpus(("NVIDIA H100",), ("NVIDIA H100, 81559 MiB, 580.95.05",), "580.95.05"),
        cuda_error="",
        free={str(tmp_path): 10**12, "/tmp": 10**11},
        output_seen=True,
        output_error="",
        source_errors=(),
        weight_errors=(),
        models=(Check("regions", "sam:vit_h", "11" * 16, "Apache-2.0", True, ""),),
    )


@pytest.fixture
def asked(tmp_path):
    return Questions(str(tmp_path), "abc", root="/data", sources={"a.bin": 3}, config=SUPERPIXELS)


def wrong(found, mine, asked, needed=0):
    return [finding for finding in judge("node-1", found, mine, asked, needed) if finding.ok is False]


def test_a_node_like_the_driver_is_fit(mine, asked):
    findings = list(judge("node-1", mine, mine, asked, 10**9))
    assert {finding.check for finding in findings} == {"versions", "output", "data root", "weights", "disk"}
    assert all(finding.ok for finding in findings)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"output_seen": False}, "output", ["storage that all nodes mount", "s3://"]),
        ({"output_error": "Permission denied"}, "output", ["Permission denied"]),
        ({"source_errors": ("/data/a.bin: No such file",)}, "data root", ["/data/a.bin", "mount"]),
        (
            {"weight_errors": ("weights/x.pth: No such file",)},
            "weights",
            ["x.pth", "labelgen models prefetch"],
        ),
        ({"models": (Check("regions", "sam:vit_h", "22" * 16, "", True, ""),)}, "weights", ["2222", "1111"]),
        ({"models": (Check("regions", "sam:vit_h", "", "", False, "truncated"),)}, "weights", ["truncated"]),
        ({"versions": VERSIONS | {"ray": "2.55.0"}}, "versions", ["2.55.0", "2.60.0", "same image"]),
        ({"versions": VERSIONS | {"labelgen": ""}}, "versions", ["labelgen missing", "make setup"]),
        ({"sources_digest": "cd" * 16}, "versions", ["sources", "same commit"]),
    ],
)
def test_each_fault_is_named_with_the_machine_and_what_to_do(mine, asked, change, check, words):
    (finding,) = wrong(replace(mine, **change), mine, asked)
    assert (finding.check, finding.where) == (check, "node-1")
    for word in words:
        assert word in finding.detail


def test_a_full_disk_is_a_fault_and_little_space_for_spilling_a_note(mine, asked, tmp_path):
    found = replace(mine, free={str(tmp_path): 10**9, "/tmp": 10**9})
    (finding,) = wrong(found, mine, asked, needed=2 * 10**9)
    assert "1.0 GB free, the run takes about 2.0" in finding.detail
    notes = [f for f in judge("node-1", found, mine, asked, 0) if f.ok is None]
    assert [note.check for note in notes] == ["disk"]


def test_other_versions_of_torch_are_a_note(mine, asked):
    found = replace(mine, versions=VERSIONS | {"torch": "2.9.0"})
    (note,) = [f for f in judge("node-1", found, mine, asked, 0) if not f.ok]
    assert note.ok is None
    assert "torch 2.9.0" in note.detail


def test_this_machine_answers_truly_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "cloud.bin").write_bytes(b"123")
    (tmp_path / "short.bin").write_bytes(b"12")
    output = tmp_path / "new" / "run"
    asked = Questions(
        str(output),
        "abc",
        root=str(tmp_path),
        sources={"cloud.bin": 3, "short.bin": 3, "gone.bin": 3},
        weights={str(tmp_path / "sam.pth"): 7},
    )
    with doctor._probe_file(asked) as error:
        assert error == ""
        found = examine(asked, "node-1")
        assert sorted(path.name for path in output.iterdir()) == [".doctor-abc", ".doctor-abc-node-1"]
    assert found.output_seen
    assert found.output_error == ""
    assert [text.split(": ")[1] for text in found.source_errors] == [
        "2 bytes, not 3",
        "No such file or directory",
    ]
    assert len(found.weight_errors) == 1
    assert found.free[str(output)] > 0
    assert found.versions["ray"]
    assert not (tmp_path / "new").exists(), "folders that were made for it are gone"


def test_an_output_that_only_the_driver_sees(tmp_path):
    """A machine that has no such file says so, and makes no folder of its own there."""
    asked = Questions(str(tmp_path / "elsewhere"), "abc")
    assert not examine(asked, "node-1").output_seen
    assert not (tmp_path / "elsewhere").exists()


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    findings = look_around(SUPERPIXELS, None, tmp_path / "file" / "run", None, thorough=False)
    (finding,) = [finding for finding in findings if finding.ok is False]
    assert finding.check == "output"
    assert "Not a directory" in finding.detail


def test_a_preflight_that_fails_says_the_first_fault_and_how_many_more(tmp_path, monkeypatch):
    class Plan:
        class job:  # noqa: N801
            config, run = SUPERPIXELS, tmp_path

    faults = [
        doctor.Finding("output", "node-1", False, "not shared"),
        doctor.Finding("node", "node-2", False, ""),
    ]
    monkeypatch.setattr(doctor, "look_around", lambda *_, **__: faults)
    with pytest.raises(UserError, match=r"output, node-1: not shared \(1 more: `labelgen doctor`"):
        doctor.preflight(Plan(), "head:6379")


@pytest.mark.parametrize(
    ("answer", "quick", "thorough"),
    [
        (NodeDiedError("the node died"), None, False),
        (TaskUnschedulableError("the node does not exist any more"), None, False),
        (TimeoutError("no answer"), None, False),
        (ModuleNotFoundError("No module named 'labelgen'"), False, False),
    ],
)
def test_a_node_that_leaves_stops_no_run_and_fails_the_doctor(tmp_path, monkeypatch, answer, quick, thorough):
    from labelgen.engine.ray import cluster

    node = cluster.Node("0123456789", "spot-1", {"CPU": 8.0})
    monkeypatch.setattr(cluster, "connect_once", lambda address: None)
    monkeypatch.setattr(cluster, "uses_tokens", lambda: True)
    monkeypatch.setattr(cluster, "nodes", lambda: [node])
    monkeypatch.setattr(cluster, "on_every_node", lambda *args, timeout: iter([(node, answer)]))
    for whole, expected in ((False, quick), (True, thorough)):
        findings = look_around(RunConfig(), None, tmp_path / "run", "head:6379", 0, thorough=whole)
        (finding,) = [finding for finding in findings if finding.check == "node"]
        assert (finding.ok, finding.where) == (expected, "spot-1 (012345)")

"""Files of cluster/: what Ray's, Kubernetes' and Slurm's own tools would refuse, found without them."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import ray
import typer
import yaml

from labelgen.cli.main import app
from labelgen.config import load_config

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "cluster"
SCRIPTS = sorted([*CLUSTER.rglob("*.sbatch"), *CLUSTER.rglob("*.sh")])

#: Fields of ray.io/v1 (KubeRay 1.5) that our file may use; the API server prunes all others without a word.
JOB = {
    "entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec",
    "submissionMode", "suspend", "runtimeEnvYAML", "activeDeadlineSeconds", "entrypointNumCpus",
}  # fmt: skip
RAY_CLUSTER = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template", "serviceType"}
WORKERS = HEAD - {"serviceType"} | {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts"}
POD = {
    "containers",
    "volumes",
    "nodeSelector",
    "tolerations",
    "terminationGracePeriodSeconds",
    "serviceAccountName",
}
CONTAINER = {"name", "image", "ports", "resources", "volumeMounts", "env"}


def labelgen_commands(text):
    """Every ``labelgen …`` of a script or page, as lists of words."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        for found in re.finditer(
            r"(?:^|[\s\"`/])labelgen ((?:doctor|plan|run|index|inspect|verify|report)\b[^`\\]*)", line
        ):
            words = found[1].split(" #")[0].replace("…", "").rstrip("\"'`.,:;&) ")
            try:
                yield shlex.split(words)
            except ValueError:
                yield words.split()


def options_of(command):
    """Options that a command takes."""
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(
    "path", [*sorted(CLUSTER.rglob("*.*")), CLUSTER / "image/Dockerfile"], ids=lambda p: p.name
)
def test_commands_have_the_options_that_the_files_give_them(path):
    commands = typer.main.get_command(app).commands
    for words in labelgen_commands(path.read_text()):
        given = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
        assert given <= options_of(commands[words[0]]) | {"--help"}, words
        overrides = [words[k + 1] for k, word in enumerate(words) if word == "--set" and k + 1 < len(words)]
        load_config("nuscenes", [text for text in overrides if "…" not in text])


def test_the_dockerfile_is_whole():
    text = (CLUSTER / "image/Dockerfile").read_text()
    lines = [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")
    ]
    steps = [line.split(None, 1) for line in lines]
    assert {name for name, _ in steps} <= {
        "ARG",
        "FROM",
        "ENV",
        "SHELL",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "CMD",
    }
    allowed = (ROOT / ".dockerignore").read_text().split()
    for name, rest in steps:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in allowed, f"{source} does not reach the build"
        if name == "FROM":
            assert ":latest" not in rest
            assert ":" in rest
    order = [name for name, _ in steps]
    assert order.index("FROM") < max(
        k for k, (name, rest) in enumerate(steps) if name == "ARG" and "TORCH" in rest
    )
    assert order[-1] == "CMD"
    assert dict(steps)["USER"] == "1000", "not root"
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    cpu = [line for line in lock if not re.match(r"(cuda-|nvidia-|triton==)", line)]
    assert any(line.startswith("torch==") for line in cpu)
    assert not any("nvidia" in line or line.startswith("cuda") for line in cpu)


def test_versions_of_ray_are_those_of_the_lock():
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    job = yaml.safe_load((CLUSTER / "kuberay/rayjob.yaml").read_text())
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == locked
    assert f"ray[default]=={locked}" in (CLUSTER / "aws/README.md").read_text()


def test_the_rayjob_has_known_fields_alone_and_mounts_what_it_uses():
    job = yaml.safe_load((CLUSTER / "kuberay/rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert job["spec"].keys() <= JOB
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= RAY_CLUSTER
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"].keys() <= HEAD
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    images = set()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), (
            "texts, or it is refused"
        )
        pod = group["template"]["spec"]
        assert pod.keys() <= POD
        volumes = {volume["name"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert container.keys() <= CONTAINER
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert container["resources"]["requests"] == container["resources"]["limits"], (
            "no neighbour, no surprise"
        )
        images.add(container["image"])
        memory = next(v for v in pod["volumes"] if v["name"] == "shm")["emptyDir"]
        assert memory["medium"] == "Memory"
    assert len(images) == 1
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    paths = re.findall(r"(?<=[ =])/(\w+)/", job["spec"]["entrypoint"])
    assert {f"/{name}" for name in paths} <= mounted


def test_ray_up_takes_the_aws_file():
    """By the schema and the checks of `ray up` itself, and the defaults that it fills in."""
    from ray.autoscaler._private.util import fill_node_type_min_max_workers, validate_config

    config = yaml.safe_load((CLUSTER / "aws/ray-up.yaml").read_text())
    validate_config(config)
    fill_node_type_min_max_workers(config)
    kinds = config["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert kinds["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in kinds["head"]["node_config"], "the head is not to vanish"
    assert sum(kind.get("min_workers", 0) for kind in kinds.values()) <= config["max_workers"]
    defaults = yaml.safe_load((Path(ray.__file__).parent / "autoscaler/aws/defaults.yaml").read_text())
    assert config.keys() <= defaults.keys()
    assert config["provider"].keys() <= defaults["provider"].keys()
    with pytest.raises(Exception, match="head_node_typo"):
        validate_config({**config, "head_node_typo": "head"})


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_sound_shell(path):
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    assert os.access(path, os.X_OK)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


# Slurm: scripts run for real, with stand-ins for what they call that write down how they were called.


@pytest.fixture
def slurm(tmp_path):
    """Runs a script as Slurm would, with stand-ins; gives the exit code and the calls."""
    tools = tmp_path / "bin"
    tools.mkdir()

    def tool(name, body=""):
        path = tools / name
        path.write_text(
            f'#!/bin/bash\nprintf "%s\\n" "{name} $*" >> "{tmp_path}/calls"\n'
            f'echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN $RAY_ADDRESS" >> "{tmp_path}/environment"\n{body}\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def call(script, *arguments, signal_after=None, **environment):
        values = {
            "PATH": f"{tools}:/usr/bin:/bin",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "LABELGEN_BIN": str(tools),
            "RAY_ADDRESS": "elsewhere:6379",
            "TMPDIR": str(tmp_path),
            **environment,
        }
        process = subprocess.Popen(["bash", CLUSTER / "slurm" / script, *arguments], env=values, cwd=tmp_path)
        if signal_after is not None:
            while not (tmp_path / signal_after).exists():
                assert process.poll() is None
                os.sched_yield()
            process.terminate()
        code = process.wait(timeout=30)
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return code, calls

    for name in ("srun", "sbatch", "ray", "labelgen"):
        tool(name)
    tool("scontrol", '[[ $1 == show ]] && printf "node-1\\nnode-2\\nnode-3\\n"; true')
    call.tool = tool
    call.folder = tmp_path
    return call


ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "4",
    "SLURM_ARRAY_TASK_COUNT": "28",
    "SLURM_ARRAY_JOB_ID": "900",
    "SLURM_JOB_ID": "907",
    "LABELGEN_ARGS": "--dataset nuscenes\n  --dataroot /data/nuscenes --output /data/run",
}
JOINT = {
    "SLURM_JOB_ID": "907",
    "SLURM_JOB_NODELIST": "node-[1-3]",
    "SLURM_JOB_NUM_NODES": "3",
    "LABELGEN_ARGS": "--dataset nuscenes --output /data/run",
}


def test_a_task_of_an_array_does_its_part_of_the_plan(slurm):
    code, calls = slurm("array.sbatch", **ARRAY)
    assert code == 0
    options = "--dataset nuscenes --dataroot /data/nuscenes --output /data/run"
    assert calls == [f"labelgen run {options} --frames 3/28 --no-report"]
    environment = (slurm.folder / "environment").read_text()
    assert "elsewhere" not in environment, "each task has a Ray of its own"


def test_a_task_that_fails_says_so_and_is_not_started_again(slurm):
    slurm.tool("labelgen", "exit 1")
    code, calls = slurm("array.sbatch", **ARRAY)
    assert code == 1
    assert not any(call.startswith("scontrol") for call in calls)


@pytest.mark.parametrize(
    ("script", "values", "job"), [("array.sbatch", ARRAY, "900_7"), ("joint.sbatch", JOINT, "907")]
)
def test_sigterm_reaches_labelgen_which_may_finish_and_the_job_comes_back(slurm, script, values, job):
    slurm.tool(
        "labelgen",
        f'[[ $1 == run ]] || exit 0\ntrap "sleep 0.3; echo drained > {slurm.folder}/drained; exit 75" TERM\n'
        f"touch {slurm.folder}/started\nwhile true; do sleep 0.05; done",
    )
    code, calls = slurm(script, signal_after="started", **values)
    assert code == 75
    assert (slurm.folder / "drained").exists(), "it was waited for"
    assert calls[-1] == f"scontrol requeue {job}"


def test_the_joint_cluster_has_a_head_others_and_a_token_of_its_own(slurm):
    code, calls = slurm("joint.sbatch", **JOINT)
    assert code == 0
    address = f"node-1:{20000 + 907}"
    assert (
        f"ray start --head --node-ip-address=node-1 --port=20907 --temp-dir={slurm.folder}/ray-907"
        in calls[1]
    )
    (others,) = [call for call in calls if call.startswith("srun")]
    assert "--nodes=2 --ntasks=2" in others
    assert "--exclude=node-1" in others
    assert f"ray start --address={address} --block" in others
    assert f"labelgen doctor --nodes 3 --ray-address {address}" in calls
    assert f"labelgen run --dataset nuscenes --output /data/run --ray-address {address}" in calls
    tokens = set(re.findall(r"token ([0-9a-f]{32}) ", (slurm.folder / "environment").read_text()))
    assert len(tokens) == 1
    slurm("joint.sbatch", **JOINT)
    assert len(set(re.findall(r"token ([0-9a-f]{32}) ", (slurm.folder / "environment").read_text()))) == 2


def test_a_cluster_that_the_doctor_refuses_is_not_used(slurm):
    slurm.tool("labelgen", "[[ $1 != doctor ]]")
    code, calls = slurm("joint.sbatch", **JOINT)
    assert code == 1
    assert not any(call.startswith("labelgen run") for call in calls)


@pytest.mark.parametrize("script", ["array.sbatch", "joint.sbatch"])
def test_without_options_the_scripts_say_what_is_missing(slurm, script):
    code, calls = slurm(script, **{**ARRAY, "LABELGEN_ARGS": ""})
    assert (code, calls) == (2, [])


def test_the_end_of_an_array_indexes_and_reports(slurm):
    code, calls = slurm("finish.sbatch", "/data/run")
    assert code == 0
    assert calls == [f"labelgen {command} /data/run" for command in ("index", "inspect", "report", "verify")]
    assert slurm("finish.sbatch")[0] == 2


def test_the_grafana_boards_are_json():
    for path in CLUSTER.rglob("*.json"):
        json.loads(path.read_text())

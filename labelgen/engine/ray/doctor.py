"""Looks at a machine, or at every node of a cluster, before a run does: what is missing, and what to do."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.core.wording import one_line
from labelgen.doctor.machine import Answers, Questions, examine
from labelgen.doctor.plugins import plug_ins
from labelgen.engine.planning import Plan, Request, make_plan, missing_demo, resolve_config
from labelgen.io.local import LocalStore
from labelgen.io.place import absolute, open_store

#: Seconds for all nodes together to answer; hashing weights takes a while on slow disks.
QUICK_S, THOROUGH_S = 60.0, 600.0
#: Seconds in which the nodes of a cluster that is being started should come.
NODES_S = 300.0
#: Source files, at equal distances in the plan, that every node is asked for.
SOURCES = 4
#: Free bytes for temporary files, into which Ray spills, below which a run may get stuck.
TEMPORARY_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what.
        where: machine.
        ok: False: a run would fail; None: it would not, but one should know.
        detail: what was found; if it is not ok, what to do.
    """

    check: str
    where: str
    ok: bool | None
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)


def diagnose(request: Request, address: str | None, nodes: int = 0) -> list[Finding]:
    """All that ``labelgen doctor`` looks at.

    Args:
        request: as for a run. Without a data root, what hangs on the data is left out.
        address: of a Ray cluster; None looks at this machine alone.
        nodes: that the cluster should have; they are waited for.

    Raises:
        UserError: no such configuration.
    """
    config = resolve_config(request)
    findings = list(_plug_ins())
    plan = None
    if missing_demo(request) is not None:
        findings.append(
            Finding("data", "driver", None, "the simulated city is not built yet; the run builds it")
        )
    elif request.dataroot is None and config.dataset != "demo":
        findings.append(Finding("data", "driver", None, "not checked: no --dataroot was given"))
    else:
        try:
            plan = make_plan(request, compare=False)
            text = f"{len(plan.selected):,} frames, {len(plan.job.frames):,} to do"
            findings.append(Finding("data", "driver", True, text))
            for odd in plan.findings:
                findings.append(Finding(odd.check, "driver", False if odd.refuse else None, str(odd)))
        except UserError as error:
            findings.append(Finding("plan", "driver", False, str(error)))
    return findings + look_around(config, plan, request.output, address, nodes, thorough=True)


def _plug_ins() -> Iterator[Finding]:
    """What other packages add; a fault is told by the plan, too, where the run would use it."""
    for one in plug_ins():
        text = one.fault or f"{one.name} of {one.package} in {one.group}"
        yield Finding("plug-ins", "driver", None if one.fault else True, text)


def preflight(plan: Plan, address: str) -> None:
    """The part of it that takes seconds; called before a run on a cluster.

    Raises:
        UserError: what is wrong first, and how much else.
    """
    findings = look_around(plan.job.config, plan, plan.job.run, address, 0, thorough=False)
    wrong = [finding for finding in findings if finding.ok is False]
    if wrong:
        more = f" ({len(wrong) - 1} more: `labelgen doctor` lists all)" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0].check}, {wrong[0].where}: {wrong[0].detail}{more}")


def look_around(
    config: RunConfig,
    plan: Plan | None,
    output: Path | str | None,
    address: str | None,
    nodes: int = 0,
    *,
    thorough: bool,
) -> list[Finding]:
    """Ask this machine and, if there is a cluster, its nodes; then compare their answers.

    Args:
        config: of the run.
        plan: if there is one: its files are looked for.
        output: of the run, if there is no plan.
        address: of the cluster.
        nodes: that it should have.
        thorough: hash weights too.
    """
    output = plan.job.run if plan else output or "."
    frames = plan.selected[:: max(1, len(plan.selected) // SOURCES)] if plan else ()
    root = plan.job.root.absolute() if plan else Path()
    questions = Questions(
        output=absolute(output),
        token=uuid.uuid4().hex[:12],
        root=str(root),
        sources=_sizes(
            {
                path: root / path
                for frame in frames
                for path in (frame.lidar_path, *(camera.image_path for camera in frame.cameras[:1]))
            }
        ),
        weights=_sizes({path: Path(path) for path in _checkpoints(config)}),
        config=config if thorough else None,
        device=config.runtime.device,
    )
    needed = plan.estimate_bytes() if plan and not plan.done else 0
    with _probe_file(questions) as error:
        mine = examine(questions, "driver")
        if error:
            mine = replace(mine, output_seen=True, output_error=error)
        findings = list(judge("driver", mine, mine, questions, needed))
        if address is not None:
            findings += _cluster(address, mine, questions, needed, config, nodes)
        else:
            findings.append(_own_gpus(config, mine))
    return findings


def judge(where: str, found: Answers, mine: Answers, asked: Questions, needed: int) -> Iterator[Finding]:
    """Compare what a machine answered with the driver's own answers.

    Args:
        where: name of the machine.
        found: its answers.
        mine: the driver's.
        asked: the questions.
        needed: bytes that the run will take.
    """
    yield _versions(where, found, mine)
    if not found.output_seen:
        yield Finding(
            "output",
            where,
            False,
            f"does not see {asked.output} as the driver does: choose an --output on storage that all nodes "
            "mount under the same path, or s3://…",
        )
    elif found.output_error:
        yield Finding("output", where, False, f"cannot write to {asked.output}: {found.output_error}")
    else:
        yield Finding("output", where, True, f"{asked.output} is seen and can be written")
    if asked.sources:
        wrong = found.source_errors
        detail = f"{wrong[0]}: mount the data root under the same path on every node" if wrong else asked.root
        yield Finding("data root", where, not wrong, detail)
    for error in found.weight_errors:
        yield Finding(
            "weights",
            where,
            False,
            f"{error}: copy the file there, or run `labelgen models prefetch` on that node, or name a path "
            "that all nodes see: --set regions.checkpoint=/shared/… (semantics.checkpoint)",
        )
    for model, own in zip(found.models, mine.models, strict=False):
        if not model.fit:
            yield Finding("weights", where, False, f"{model.stage}: {model.detail}")
        elif model.weights != own.weights:
            yield Finding(
                "weights",
                where,
                False,
                f"{model.name}: hash {model.weights[:12]}, but {own.weights[:12]} on the driver: "
                "copy the driver's file",
            )
        else:
            yield Finding("weights", where, True, f"{model.name} {model.weights[:12]}".rstrip())
    for folder, free in found.free.items():
        least = needed if folder == asked.output else TEMPORARY_BYTES
        text = f"{folder}: {free / 1e9:,.1f} GB free"
        if free >= least:
            yield Finding("disk", where, True, text)
        elif folder == asked.output:
            yield Finding("disk", where, False, f"{text}, the run takes about {least / 1e9:,.1f}: free some")
        else:
            yield Finding(
                "disk", where, None, f"{text}: Ray spills there; free some, or set `ray start --temp-dir`"
            )


def _own_gpus(config: RunConfig, mine: Answers) -> Finding:
    device, names = config.runtime.device, "; ".join(mine.gpus.texts)
    if device == "cpu":
        return Finding("GPUs", "driver", True, f"not used, runtime.device is cpu: {names or 'none'}")
    if mine.cuda_error:
        return Finding("GPUs", "driver", False, mine.cuda_error)
    if names:
        return Finding("GPUs", "driver", True, names)
    if device == "cuda":
        return Finding("GPUs", "driver", False, "runtime.device is cuda, but there is no GPU here")
    none = f"none ({mine.gpus.fault})" if mine.gpus.fault else "none"
    return Finding("GPUs", "driver", None, f"{none}: models run on the CPU")


def _versions(where: str, found: Answers, mine: Answers) -> Finding:
    differ = [
        f"{name} {found.versions.get(name) or 'missing'}, driver {version or 'missing'}"
        for name, version in mine.versions.items()
        if found.versions.get(name) != version
    ]
    grave = any(found.versions.get(name) != mine.versions[name] for name in ("python", "ray", "labelgen"))
    if not differ and found.sources_digest != mine.sources_digest:
        differ, grave = ["labelgen's sources are not the driver's"], True
    if differ:
        advice = "install the same everywhere (`make setup` on the same commit, or the same image)"
        return Finding("versions", where, False if grave else None, f"{'; '.join(differ)}: {advice}")
    return Finding("versions", where, True, ", ".join(f"{k} {v}" for k, v in found.versions.items() if v))


def _cluster(
    address: str, mine: Answers, questions: Questions, needed: int, config: RunConfig, wanted_nodes: int
) -> Iterator[Finding]:
    from ray.exceptions import NodeDiedError, TaskUnschedulableError

    from labelgen.engine.ray.cluster import connect_once, on_every_node, uses_tokens, wait_for_nodes
    from labelgen.engine.ray.cluster import nodes as living_nodes

    gpus: list[float] = []
    try:
        connect_once(address)
    except UserError as error:
        yield Finding("cluster", address, False, str(error))
        return
    if wanted_nodes:
        there = wait_for_nodes(wanted_nodes, NODES_S)
        detail = "" if there >= wanted_nodes else ": see the logs of those that are missing"
        text = f"{there} of {wanted_nodes} are there{detail}"
        yield Finding("nodes", address, there >= wanted_nodes, text)
    tokens = uses_tokens()
    detail = "the cluster takes this driver's token"
    if not tokens:
        detail = "off: anyone who can reach the port can run code; see cluster/README.md, Tokens"
    yield Finding("authentication", address, tokens or None, detail)
    limit = QUICK_S if questions.config is None else THOROUGH_S
    questions = replace(questions, given_gpus=any(node.resources.get("GPU") for node in living_nodes()))
    for node, answer in on_every_node(examine, questions, timeout=limit):
        where = f"{node.host} ({node.node_id[:6]})"
        gpus.append(node.resources.get("GPU", 0.0))
        if isinstance(answer, Exception):
            # A node that is only slow, or has left by now, is no reason not to begin.
            absent = isinstance(answer, TimeoutError | NodeDiedError | TaskUnschedulableError)
            begin = absent and questions.config is None
            yield Finding("node", where, None if begin else False, _why_no_answer(answer))
            continue
        yield from judge(where, answer, mine, questions, needed)
        yield _node_gpus(where, gpus[-1], answer)
    wanted = config.runtime.gpus_per_worker
    if config.runtime.device == "cuda" and max(gpus, default=0.0) < min(1.0, wanted):
        yield Finding(
            "GPUs", address, False, "runtime.device is cuda, but no node has a GPU; add one, or device=cpu"
        )
    elif wanted > 1 and 0 < max(gpus, default=0.0) < wanted:
        text = f"runtime.gpus_per_worker is {wanted:g}, but no node has that many; lower it"
        yield Finding("GPUs", address, False, text)


def _node_gpus(where: str, given: float, answer: Answers) -> Finding:
    """What Ray may give away of a node's GPUs, what the driver there names, and what torch says."""
    text, equal = f"{given:g} for Ray", len(answer.gpus.names) == given
    if given and answer.cuda_error:
        return Finding("GPUs", where, False, f"{text}, but {answer.cuda_error}")
    if equal and answer.gpus.texts:
        text += f": {'; '.join(answer.gpus.texts)}"
    elif not equal:
        text += f", but the machine has {len(answer.gpus.names)}: see `ray start --num-gpus`"
    return Finding("GPUs", where, equal or None, text)


def _why_no_answer(error: Exception) -> str:
    text = one_line(error, 300)
    if isinstance(error, ModuleNotFoundError) or "ModuleNotFoundError" in text:
        return (
            "labelgen or a package that adds to it is not installed there, or another version: `make setup` "
            "there, or the same image"
        )
    return f"{type(error).__name__}: {text}: look at the node (`ray status`, `ray list nodes`)"


def _checkpoints(config: RunConfig) -> list[str]:
    named = (getattr(config.regions, "checkpoint", None), getattr(config.semantics, "checkpoint", None))
    return [path for path in named if path]


def _sizes(files: dict[str, Path]) -> dict[str, int]:
    """{key: bytes} of those that are files here."""
    return {key: path.stat().st_size for key, path in files.items() if path.is_file()}


@contextmanager
def _probe_file(questions: Questions) -> Iterator[str]:
    """The driver's file in the run's folder, and all others', removed at the end; yields why it cannot be."""
    store = open_store(questions.output)
    made = _missing_folders(store.folder) if isinstance(store, LocalStore) else []
    error = ""
    try:
        if isinstance(store, LocalStore):
            store.folder.mkdir(parents=True, exist_ok=True)
        store.replace(questions.probe_file(), b"labelgen doctor\n")
    except OSError as problem:
        error = problem.strerror or str(problem)
    try:
        yield error
    finally:
        try:
            for name in store.children(""):
                if name.startswith(questions.probe_file()):
                    store.remove(name)
            for folder in made:
                os.rmdir(folder)
        except OSError:
            pass  # what somebody has put there since


def _missing_folders(folder: Path) -> Sequence[Path]:
    """The folder and those above it that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]

"""The loop: overfits, resumes to the same losses, stops on NaN, refuses what is not its own."""

import math

import pytest
import torch

from labelgen.core.errors import UserError
from labelgen.distill import loop
from labelgen.distill.config import OptimizerConfig, load_train_config
from labelgen.distill.log import Log, read_log
from labelgen.distill.loop import Averaged, Length, length_of, rate_at
from labelgen.distill.methods.slidr import Slidr
from labelgen.distill.model import make_model, parameter_groups
from labelgen.distill.needs import info_of, open_for_training
from labelgen.distill.predict import load_predictor, score, score_labels
from labelgen.distill.protocols import Task, run_task
from labelgen.distill.splits import split_frames
from labelgen.distill.state import load_head, read_model
from labelgen.distill.train import Start, train
from tests.helpers.methods import PRETRAINING
from tests.helpers.training_runs import PER_CLASS, make_training_run

SMALL = [
    "backbone=waffleiron-3-12",
    "backbone_settings={cell: 1.0, low: [-16, -16, -4], high: [16, 16, 8], neighbours: 6}",
    "runtime={workers: 0, threads: 1, log_every: 1, device: cpu}",
    "optimizer.batch_size=2",
    "optimizer.warmup=0",
]


class KilledError(Exception):
    pass


def settings(method, *more):
    return load_train_config(method, None, None, [*SMALL, *more])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return open_for_training(make_training_run(tmp_path_factory.mktemp("run"), captions=True))


def losses_of(folder):
    return [float(line["loss"]) for line in read_log(folder)]


def test_it_overfits_one_frame_on_true_labels(opened, tmp_path):
    config = settings(
        "finetune",
        "optimizer={epochs: 60, batch_size: 1, learning_rate: 0.01}",
        "data={rotate: false, flip: 0}",
    )
    frame = opened.frames[:1]
    predictor = train(opened, config, frame, tmp_path, truth=True)
    assert score(predictor, opened, frame).result()["miou_all"] > 0.95
    assert losses_of(tmp_path)[-1] < 0.2 * losses_of(tmp_path)[0]
    again = load_predictor(tmp_path, info_of(opened), torch.device("cpu"))
    assert score(again, opened, frame).result() == score(predictor, opened, frame).result()


def test_annotation_free_training_beats_its_own_labels_on_the_whole_cloud(opened, tmp_path):
    config = settings("annotation-free", "optimizer={epochs: 40, learning_rate: 0.01, ema: 0}")
    result = run_task(Task(opened, config, split_frames(opened, "b"), tmp_path))
    network, labels = (result["scores"][name]["miou_all"] for name in ("network", "labels"))
    assert network > labels + 0.05
    assert result["scores"]["labels"] == score_labels_as_stored(opened, split_frames(opened, "b").val)


def score_labels_as_stored(opened, frames):
    found = score_labels(opened, frames)
    return found.result() | {"protocols": found.protocols()}


@pytest.mark.parametrize(
    "more",
    [
        ["optimizer={name: adamw, ema: 0.9, accumulate: 2, clip: 1.0}", "backbone_settings.drop_path=0.3"],
        ["optimizer={name: sgd, learning_rate: 0.05}"],
    ],
)
def test_a_training_that_was_stopped_goes_on_to_the_same_losses(opened, tmp_path, more):
    each = "runtime={log_every: 4, save_minutes: 0}"  # a line is the mean of steps before and after
    config = settings("ppkt", *more, "optimizer.epochs=4", "settings.pairs=40", each)

    def kill(step, line):
        if step == 3:
            raise KilledError

    train(opened, config, opened.frames, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(opened, config, opened.frames, tmp_path / "two", report=kill)
    seen = []
    train(opened, config, opened.frames, tmp_path / "two", report=lambda step, line: seen.append(step))
    assert seen
    assert seen[0] > 1  # it did not begin anew
    whole, two = losses_of(tmp_path / "whole"), losses_of(tmp_path / "two")
    assert two == pytest.approx(whole, rel=1e-6)
    for name, value in read_model(tmp_path / "whole")[0].items():
        torch.testing.assert_close(read_model(tmp_path / "two")[0][name], value, rtol=1e-5, atol=1e-6)
    seen.clear()
    train(opened, config, opened.frames, tmp_path / "two", report=lambda step, line: seen.append(step))
    assert not seen  # it is done


def test_losses_that_are_not_finite_stop_it_and_name_the_frames(opened, tmp_path, monkeypatch):
    def broken(self, batch, features):
        return {"loss": features.sum() * math.nan}

    monkeypatch.setattr(Slidr, "forward", broken)
    with pytest.raises(UserError, match=r"step 1: the loss is not finite.*[ab]-[01]"):
        train(opened, settings("slidr", "optimizer.epochs=1"), opened.frames, tmp_path)


def test_batches_without_a_target_end_a_training_without_a_checkpoint(opened, tmp_path, monkeypatch):
    def empty(self, batch, features):
        return {"loss": features.sum() * 0}

    monkeypatch.setattr(Slidr, "forward", empty)
    with pytest.raises(UserError, match=r"nothing to learn from in \d+ steps.*[ab]-[01]"):
        train(opened, settings("slidr", "optimizer.epochs=1"), opened.frames, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pt", ".safetensors")]


@pytest.mark.parametrize("method", PRETRAINING)
def test_every_method_trains_from_a_cache_and_its_backbone_is_taken_over(opened, tmp_path, method):
    more = ["settings.vocabulary=classes"] if method == "tmp" else []
    config = settings(method, "optimizer.epochs=2", *more)
    split = split_frames(opened, "b")
    result = run_task(Task(opened, config, split, tmp_path / "first"))
    losses = losses_of(tmp_path / "first")
    assert all(math.isfinite(value) for value in losses)
    probe = settings("probe", "optimizer.epochs=1")
    run_task(Task(opened, probe, split, tmp_path / "probe", Start(tmp_path / "first")))
    before, after = (read_model(tmp_path / name)[0] for name in ("first", "probe"))
    names = [name for name in before if name.startswith("backbone.")]
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)  # a probe leaves it as it is
    assert result["scores"] is None or result["scores"]["frames"] == 2


def test_folders_and_checkpoints_of_others_are_refused(opened, tmp_path):
    config = settings("slidr", "optimizer={epochs: 1, max_steps: 1}")
    train(opened, config, opened.frames, tmp_path / "one")
    with pytest.raises(UserError, match="another training"):
        train(opened, config.model_copy(update={"seed": 1}), opened.frames, tmp_path / "one")
    (tmp_path / "one" / "model.safetensors").rename(tmp_path / "kept.safetensors")
    with pytest.raises(UserError, match="other settings"):
        train(opened, config.model_copy(update={"seed": 1}), opened.frames, tmp_path / "one")
    wider = settings("probe", "backbone=waffleiron-3-16")
    with pytest.raises(UserError, match="waffleiron-3-12, not waffleiron-3-16"):
        train(opened, wider, opened.frames, tmp_path / "two", start=Start(tmp_path / "kept.safetensors"))
    with pytest.raises(UserError, match="--from"):
        run_task(Task(opened, settings("probe"), split_frames(opened, "b"), tmp_path / "three"))
    for content in (b"", b"nothing", b"\x80\x04\x95"):
        (tmp_path / "bad.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.safetensors"):
            read_model(tmp_path / "bad.safetensors")
    (tmp_path / "one" / "state.pt").write_bytes(b"\x80\x04}q\x00.")
    with pytest.raises(UserError, match=r"state\.pt cannot be read"):
        train(opened, config, opened.frames, tmp_path / "one")


def test_a_head_is_taken_over_where_the_classes_are_the_same(opened, tmp_path):
    config = settings("annotation-free", "optimizer={max_steps: 1, ema: 0}")
    train(opened, config, opened.frames, tmp_path)
    model = make_model(config, info_of(opened))
    assert load_head(model.method, tmp_path, opened.taxonomy.names)
    assert torch.equal(model.method.layer.weight, read_model(tmp_path)[0]["method.layer.weight"])
    assert not load_head(model.method, tmp_path, ["other", "classes", "here"])


def test_rates_rise_and_fall_as_they_should(opened):
    chosen = OptimizerConfig(learning_rate=1.0, min_rate=0.1, warmup=2, epochs=10, accumulate=2)
    length = length_of(chosen, 10)
    assert length == Length(50, 5)
    rates = [rate_at(step, length, chosen) for step in range(length.steps)]
    assert rates[:10] == pytest.approx([(n + 1) / 11 for n in range(10)])
    assert rates[10] == 1.0
    assert rates[30] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)

    config = settings("annotation-free", "optimizer={layer_decay: 0.5, head_rate: 3, weight_decay: 0.2}")
    model = make_model(config, info_of(opened))
    scale = {id(p): g for g in parameter_groups(model, config) for p in g["params"]}
    assert len(scale) == sum(1 for _ in model.parameters())
    assert scale[id(model.method.layer.weight)]["scale"] == 3
    blocks = model.backbone.blocks
    assert scale[id(blocks[2].channels[0].weight)]["scale"] == 1
    assert scale[id(blocks[0].channels[0].weight)]["scale"] == 0.25
    assert scale[id(model.backbone.embedding.join.weight)]["scale"] == 0.125
    assert scale[id(blocks[0].channels[0].weight)]["weight_decay"] == 0.2
    assert scale[id(blocks[0].channels[0].bias)]["weight_decay"] == 0


def test_the_log_holds_means_and_forgets_what_was_not_saved(tmp_path):
    log = Log(tmp_path, 2)
    for step in range(1, 6):
        log.add(step, {"loss": float(step)} | ({"late": 7.0} if step > 2 else {}), last=step == 5)
    assert [line["step"] for line in read_log(tmp_path)] == ["2", "4", "5"]
    assert [line["loss"] for line in read_log(tmp_path)] == ["1.5", "3.5", "5"]
    assert [line["late"] for line in read_log(tmp_path)] == ["", "7", "7"]
    again = Log(tmp_path, 2, start=2)
    again.add(3, {"loss": 1.0})
    again.add(4, {"loss": 2.0})
    assert [line["loss"] for line in read_log(tmp_path)] == ["1.5", "1.5"]


def test_averaged_weights_follow_the_formula():
    layer = torch.nn.Linear(1, 1, bias=False)
    averaged = Averaged(layer, 0.9)
    expected = float(layer.weight.detach())
    for step in range(1, 200):
        with torch.no_grad():
            layer.weight.fill_(step)
        averaged.update(layer)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(averaged.weights["weight"]) == pytest.approx(expected, rel=1e-5)


def test_bfloat16_learns_about_the_same(opened, tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        more = f"runtime.precision={precision}"
        config = settings("annotation-free", "optimizer={epochs: 3, ema: 0}", more)
        train(opened, config, opened.frames, tmp_path / precision)
        losses.append(losses_of(tmp_path / precision))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_frames_without_points_are_passed_over_and_stay_without_labels(opened, tmp_path, monkeypatch):
    nowhere = "backbone_settings={low: [500, 500, 500], high: [516, 516, 512]}"
    config = settings("annotation-free", nowhere, "optimizer.epochs=1")
    with pytest.raises(UserError, match="nothing to learn from in 2 steps"):
        train(opened, config, opened.frames, tmp_path / "refused")
    monkeypatch.setattr(loop._Targets, "count", lambda *taken, last: None)
    predictor = train(opened, config, opened.frames, tmp_path)
    assert "loss" not in read_log(tmp_path)[0]
    found = score(predictor, opened, opened.frames[:1]).result()
    assert found["labelled"] == 0
    assert found["points"] == sum(PER_CLASS) - 1

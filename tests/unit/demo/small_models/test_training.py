"""The training loop: budget, resumption, metrics."""

import json

import pytest
import torch
from torch import nn

from labelgen.demo.small_models import training


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by one second whenever it is read."""
    now = [0.0]

    def monotonic():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(training.time, "monotonic", monotonic)


def run(folder, minutes, seen):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step):
        seen.append(step)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        error = (model(x) - x.sum(dim=1, keepdim=True)).square().mean()
        return {"loss": error, "other": error * 2}

    steps = training.train(model, loss, folder, minutes=minutes, learning_rate=0.1, warmup_steps=5)
    return model, steps


def test_learns_and_keeps_to_its_budget(tmp_path, clock):
    seen = []
    model, steps = run(tmp_path, minutes=3, seen=seen)
    assert steps == len(seen) == 180  # one second a step
    torch.testing.assert_close(model.weight.detach(), torch.ones(1, 3), atol=0.05, rtol=0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 180
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[0]["other"] == pytest.approx(2 * lines[0]["loss"], rel=1e-3)
    assert lines[0]["rate"] > lines[-1]["rate"] >= 0


def test_a_killed_run_goes_on_with_the_next_step(tmp_path, clock):
    class KilledError(Exception):
        pass

    seen = []
    model = nn.Linear(3, 1)

    def loss(step):
        seen.append(step)
        if len(seen) == 100:
            raise KilledError
        return {"loss": model(torch.ones(1, 3)).square().sum()}

    arguments = {"minutes": 3, "learning_rate": 0.01}
    with pytest.raises(KilledError):
        training.train(model, loss, tmp_path, **arguments)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    steps = training.train(model, loss, tmp_path, **arguments)
    assert seen[100] == saved["step"] > 0
    assert steps == 180
    assert training.train(model, loss, tmp_path, **arguments) == 180  # nothing is left to do


def test_a_finished_run_gives_the_same_model(tmp_path, clock):
    first, _ = run(tmp_path, minutes=1, seen=[])
    again, _ = run(tmp_path, minutes=1, seen=(seen := []))
    assert seen == []
    torch.testing.assert_close(first.weight, again.weight, atol=0, rtol=0)

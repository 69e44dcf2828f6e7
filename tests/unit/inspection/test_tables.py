import io

import pytest
from rich.console import Console

from labelgen.inspection.tables import human_bytes, plain, render_evaluation, render_plan, render_summary
from tests.unit.inspection.test_report import EVIL, evaluation, summary


def shown(render, content, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    render(console, content)
    return console.file.getvalue()


def lines_with(text, word):
    return [line.split() for line in text.splitlines() if word in line.split()]


def test_a_summary_as_tables():
    text = shown(render_summary, summary())
    assert lines_with(text, "frames")[0] == ["frames", "1,234,", "2", "of", "them", "partial"]
    assert lines_with(text, "labelled")[0] == ["labelled", "8", "(50.0%)"]
    car = lines_with(text, "car")[0]
    assert (car[1], car[2], car[-1]) == ("6", "75.0%", "0.73")
    assert lines_with(text, "camera")[0][:4] == ["no", "camera", "6", "37.5%"]
    assert "no points: barrier, bicycle" in text
    assert "bad-frame" in text
    assert "torn" in text
    assert "CAM_BACK is truncated" in text


def test_only_the_first_failures_are_listed():
    failure = summary()["failures"][0]
    text = shown(render_summary, summary(failures=[failure] * 25))
    assert text.count("bad-frame") == 10
    assert "15 more failed frames" in text


def test_an_evaluation_as_a_table():
    text = shown(render_evaluation, evaluation() | {"frames": 12, "miou_all": 0.5, "other": {"a": 1}})
    assert lines_with(text, "mIoU")[0] == ["mIoU", "0.432"]
    assert lines_with(text, "frames")[0] == ["frames", "12"]
    assert lines_with(text, "car")[0][:2] == ["car", "0.871"]
    assert lines_with(text, "truck")[0][:2] == ["truck", "-"]
    rows = [
        line.split()[0]
        for line in text.splitlines()
        if line.split()[1:2] and line.split()[0] in evaluation()["iou"]
    ]
    assert rows[:2] == ["car", "bus"], "best first, those without truth last"


def test_an_evaluation_without_anything():
    text = shown(render_evaluation, {"miou": None, "coverage": None, "iou": {}})
    assert lines_with(text, "mIoU")[0] == ["mIoU", "-"]


def test_a_plan_as_a_table():
    plan = {
        "frames": 34149,
        "todo": 30000,
        "done": 4149,
        "images": 204894,
        "estimated_bytes": 41e9,
        "extra": [1],
    }
    text = shown(render_plan, plan)
    assert [line.split() for line in text.splitlines()] == [
        ["frames", "34,149"],
        ["todo", "30,000"],
        ["done", "4,149"],
        ["images", "204,894"],
        ["estimated", "41.0", "GB"],
    ]


def test_hostile_texts_reach_the_terminal_as_plain_text():
    failure = dict.fromkeys(("frame_id", "stage", "error_type", "message"), EVIL + "[bold]x[/nope]")
    labels = {EVIL + "[link=file:///]": {"points": 3, "share": 1.0, "mean_confidence": 0.5}}
    hostile = summary(failures=[failure], notes=[{"frame_id": EVIL, "note": EVIL}], labels=labels)
    for width in (60, 300):
        text = shown(render_summary, hostile, width)
        assert "\x1b[31m" not in text
        assert "\x00" not in text
    assert "[bold]x[/nope]" in text
    render = shown(render_evaluation, {"miou": 0.1, "coverage": 0.1, "iou": {"[red]\x1b[31m": 0.5}})
    assert r"[red]\x1b[31m" in render
    assert plain("a\r\nb\x07").plain == r"a b\x07"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (999_999, "1.0 MB"),
        (4.1e10, "41.0 GB"),
    ],
)
def test_sizes_as_people_write_them(count, text):
    assert human_bytes(count) == text

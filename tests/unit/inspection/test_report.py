import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.inspection.counts import PointCounts
from labelgen.inspection.ladder import keep_ladder, kept_ladder
from labelgen.inspection.markup import Html, join, tag
from labelgen.inspection.report import report_html, save_report
from labelgen.runs import open_run
from labelgen.shards import Parent, create_run
from tests.helpers.runs import FINGERPRINT, some_records, write

TAXONOMY = load_taxonomy("nuscenes16")
EVIL = "</style><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & \x00\x1b[31m"
EVIL += "\x9b\u202e\u2066\u200f\ufeff"  # control characters that turn the direction of text, or are not seen
VOID = ("img", "input", "link", "meta")


class Page(HTMLParser):
    """Gathers elements and text; fails on elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        self.texts.append(data.strip())

    def all(self, name):
        return [attributes for found, attributes in self.elements if found == name]


def info(**more):
    return {
        "fingerprint": "0123abcd",
        "created": "2024-05-06T07:08:09+00:00",
        "config": {"dataset": "nuscenes", "regions": {"backend": "sam", "points_per_side": 32}},
        "taxonomy": TAXONOMY.to_dict(),
        "models": [
            {
                "name": "sam:demo",
                "revision": "r1",
                "licence": "Apache-2.0",
                "weights": "ff00",
                "note": "tiny model",
            },
            {
                "name": "clip:demo",
                "revision": "r2",
                "licence": "MIT",
                "weights": "ee11",
                "note": "tiny model",
            },
        ],
        "tools": {"numpy": "1.26.4"},
    } | more


def summary(**more):
    counts = PointCounts()
    label = np.array([3] * 6 + [10] * 2 + [255] * 8, np.uint8)
    confidence = np.array([255] * 4 + [51] * 4 + [0] * 8, np.uint8)
    counts.add(label, confidence, np.array([0] * 8 + [1] * 6 + [5] * 2, np.uint8))
    return {
        "frames": 1234,
        "partial": 2,
        "failed": 1,
        **counts.summary(TAXONOMY.names),
        "regions": 77,
        "bytes": 5_400_000,
        "seconds": {"project": {"mean": 0.25, "total": 30.0}, "regions": {"mean": 2.5, "total": 3000.0}},
        "failures": [
            {"frame_id": "bad-frame", "stage": "load", "error_type": "FrameError", "message": "torn"}
        ],
        "warnings": ["scene s: no poses"],
        "notes": [{"frame_id": "f7", "note": "CAM_BACK is truncated"}],
    } | more


def evaluation():
    return {
        "miou": 0.4321,
        "coverage": 0.5,
        "iou": dict.fromkeys(TAXONOMY.names) | {"car": 0.871, "bus": 0.0},
    }


def picture(height=40, width=60):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def test_the_page_holds_the_numbers():
    page = Page(report_html("my-run", info(), summary(), [], evaluation()))
    text = page.texts
    for fact in ("my-run", "1,234", "frames, 2 partial", "50.0%", "0.432", "77", "5.4 MB", "0123abcd"):
        assert fact in text, fact
    rows = [text[k : k + 5] for k, word in enumerate(text) if word == "car"]
    assert [word for word in rows[0] if word] == ["car", "6", "75.0%", "0.73", "0.871"]
    for fact in (
        "in no camera",
        "votes too close",
        "2.500",
        "3,000.0",
        "bad-frame",
        "torn",
        "CAM_BACK is truncated",
    ):
        assert fact in text, fact
    for fact in ("sam:demo", "r1", "Apache-2.0", "ff00", "clip:demo", "numpy", "1.26.4"):
        assert fact in text, fact
    assert any("points_per_side: 32" in part for part in text)


def test_a_models_remark_is_said_once_and_first():
    page = Page(report_html("r", info(), summary(), [], None))
    assert page.texts.count("tiny model") == 1
    assert page.texts.index("tiny model") < page.texts.index("Classes")


def test_without_truth_there_are_no_scores():
    page = Page(report_html("r", info(), summary(), [], None))
    assert "mIoU" not in page.texts
    assert "IoU" not in page.texts


def test_the_ladder_is_shown_where_it_was_measured(tmp_path):
    taxonomy = TAXONOMY.to_dict()
    runs = [tmp_path / name for name in ("base", "fused")]
    create_run(runs[0], fingerprint=FINGERPRINT, config={}, taxonomy=taxonomy, models=[])
    write(runs[0], some_records(count=2))
    parent = Parent(path="../base", fingerprint=FINGERPRINT)
    create_run(runs[1], fingerprint="ff" * 16, config={}, taxonomy=taxonomy, models=[], parent=parent)
    base, fused = map(open_run, runs)
    assert kept_ladder(base) == kept_ladder(fused) == []
    scores = {"miou": 0.9871, "coverage": 0.5, "miou_all": 0.4, "right": None}
    place = keep_ladder(
        base, {"true": scores, "run": scores | {"miou": 0.5312}}, {"true": "<all>", "run": "own"}
    )
    for run in (base, fused):
        page = Page(report_html("r", info(), summary(), [], None, ladder=kept_ladder(run)))
        begin = page.texts.index("Where the quality is lost")
        assert {"<all>", "0.987", "own", "0.531", "-"} <= set(page.texts[begin:])
    whole = Path(place).read_bytes()
    for damage in (
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"fingerprint": 1, "frames": 2}',
        b'{"rungs": 5}',
        whole.replace(b"0.9871", b"98.71"),
        whole.replace(b"0.9871", b'"0.9871"'),
        whole.replace(b"<all>", b"<all>" * 1000),
        whole.replace(b'"rungs": [', b'"rungs": [' + b'{"text": ""},' * 1000),
        whole.replace(b'"frames"', b'"frames": 7,\n "frames"'),
    ):
        assert damage != whole
        Path(place).write_bytes(damage)
        assert kept_ladder(base) == []
    keep_ladder(base, {"true": scores}, {"true": ""})
    write(runs[0], some_records(count=3)[2:])
    assert kept_ladder(open_run(runs[0])) == []  # of fewer frames


def test_pictures_are_inside_the_page():
    shown = [("first", picture()), ("second", picture(30, 20))]
    page = Page(report_html("r", info(), summary(), iter(shown), None))
    images = page.all("img")
    assert [image["alt"] for image in images] == ["first", "second"]
    for image, (_, pixels) in zip(images, shown, strict=True):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/webp;base64"
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        assert decoded.shape == pixels.shape
        assert (int(image["height"]), int(image["width"])) == pixels.shape[:2]


def test_the_page_needs_nothing_from_elsewhere():
    text = report_html("r", info(), summary(), [("a", picture())], evaluation())
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "a", "base", "form"} & {n for n, _ in page.elements}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|@import|url\(", text)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def hostile_page():
    models = [dict.fromkeys(("name", "revision", "licence", "weights", "note"), EVIL)]
    labels = {EVIL: {"points": 3, "share": 1.0, "mean_confidence": 0.5}}
    failure = dict.fromkeys(("frame_id", "stage", "error_type", "message"), EVIL)
    return report_html(
        EVIL,
        info(models=models, tools={EVIL: EVIL}, config={EVIL: EVIL}, fingerprint=EVIL, created=EVIL),
        summary(
            labels=labels,
            reasons={EVIL: 1},
            seconds={EVIL: {"mean": 1.0, "total": 1.0}},
            failures=[failure],
            notes=[{"frame_id": EVIL, "note": EVIL}],
        ),
        [(EVIL, picture())],
        {"miou": None, "coverage": None, "iou": {EVIL: 0.5}},
    )


def test_hostile_texts_stay_texts():
    text = hostile_page()
    page = Page(text)
    assert "<script" not in text
    assert [i["src"][:5] for i in page.all("img")] == ["data:"]
    assert page.all("img")[0]["alt"].startswith("</style><script>alert(1)")
    assert sum("<script>alert(1)</script>" in part for part in page.texts) > 10
    assert len(page.all("style")) == 1
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", text)


def test_a_run_without_anything_has_a_page():
    empty = summary(**PointCounts().summary(TAXONOMY.names), seconds={}, failures=[], notes=[])
    page = Page(report_html("r", info(models=[], tools={}, config={}), empty, [], None))
    assert "No frame failed, and no problem was noted." in page.texts


def test_long_lists_are_cut():
    failure = {"frame_id": "f", "stage": "s", "error_type": "e", "message": "unique-message"}
    text = report_html("r", info(), summary(failures=[failure] * 5000), [], None)
    assert text.count("unique-message") == 200
    assert "4,800 more" in text


def test_the_page_replaces_an_older_one_and_leaves_nothing_else(tmp_path):
    for text in ("old", "new ü"):
        path = save_report(text, tmp_path / "report")
    assert path == str(tmp_path / "report" / "index.html")
    assert Path(path).read_text(encoding="utf-8") == "new ü"
    assert [p.name for p in Path(path).parent.iterdir()] == ["index.html"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "report").write_text("a file")
    with pytest.raises(UserError, match="report"):
        save_report("x", tmp_path / "report")


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=4), attribute=st.text(max_size=30))
def test_markup_carries_any_text_unchanged(texts, attribute):
    page = Page(tag("p", *(tag("b", text) for text in texts), title=attribute))
    printable = ["".join(c if c.isprintable() or c in "\n\t" else "�" for c in t).strip() for t in texts]
    assert [name for name, _ in page.elements] == ["p"] + ["b"] * len(texts)
    assert [text for text in page.texts if text] == [text for text in printable if text]


def test_markup_leaves_out_what_is_none():
    assert tag("td", None, "a<b", class_=None, hidden=True) == "<td hidden>a&lt;b</td>"
    assert join(None, 3, Html("<br>")) == "3<br>"


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_shows_it_without_complaint(tmp_path):
    path = save_report(hostile_page(), tmp_path)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *options, Path(path).as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert "<figure>" in done.stdout
    assert "CONSOLE" not in done.stderr

"""One system of settings: round trips, what the fingerprint covers, and how mistakes are told."""

import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import annotated_types
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labelgen.config import RunConfig, fingerprint, load_config
from labelgen.core.errors import UnusedSettingWarning, UserError
from labelgen.core.settings import NO_LABEL, Settings, backends, section
from labelgen.core.settings_writing import to_yaml
from labelgen.distill.config import TrainConfig, load_train_config
from labelgen.distill.registry import METHODS
from labelgen.presets import PRESETS
from tests.helpers.cli import Shell


def mark(config: RunConfig) -> str:
    return fingerprint(config, "t", [])


def walk(kind: type[Settings], path: tuple[str, ...] = (), covered: bool = True) -> Iterator[tuple]:
    """(backend or None, path, field, whether it can change a label) of every value in a run's settings."""
    for name, field in kind.model_fields.items():
        counts = covered and NO_LABEL not in field.metadata
        kinds = backends(field)
        for tag, one in kinds.items():
            for _, at, inner, inner_counts in walk(one, (*path, name), counts):
                yield tag, at, inner, inner_counts
        if not kinds and (one := section(field)) is not None:
            yield from walk(one, (*path, name), counts)
        elif not kinds:
            yield None, (*path, name), field, counts


def values(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Values that a field may hold."""
    parts = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return values(parts[0], tuple(m for f in parts[1:] for m in f.metadata))
    ends = {type(m): m for m in metadata}
    low = getattr(ends.get(annotated_types.Ge), "ge", None)
    high = getattr(ends.get(annotated_types.Le), "le", None)
    above = getattr(ends.get(annotated_types.Gt), "gt", None)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(low, high)
    if annotation is float:
        least = low if above is None else above
        return st.floats(least, high, exclude_min=above is not None, allow_nan=False)
    if annotation is str:
        return st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
    if annotation is type(None):
        return st.none()
    if str(annotation).startswith("typing.Literal"):
        return st.sampled_from(parts)
    if annotation is tuple or str(annotation).startswith("tuple"):
        if parts[-1] is Ellipsis:
            return st.lists(values(parts[0], ()), max_size=3).map(tuple)
        return st.tuples(*(values(part, ()) for part in parts))
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return st.just(annotation())
    return st.one_of(*(values(part, metadata) for part in parts))


def values_of(at: tuple[str, ...], field: Any) -> st.SearchStrategy[Any]:
    if at[-1] == "captions":  # names of a registry
        return st.sampled_from(["none", "blip2"])
    return values(field.annotation, tuple(field.metadata))


FIELDS = [entry for entry in walk(RunConfig) if entry[1][-1] != "backend"]


def changed(config: RunConfig, at: tuple[str, ...], value: Any) -> RunConfig:
    *sections, name = at
    data: Any = config.model_dump()
    inner = data
    for one in sections:
        inner[one] = inner[one] if inner[one] is not None else {}
        inner = inner[one]
    inner[name] = value
    return RunConfig.model_validate(data)


@given(
    st.data(),
    st.sampled_from(["sam", "sam2", "sam3", "superpixel", "files"]),
    st.sampled_from(["open_clip", "given"]),
    st.sampled_from([0.0, 0.3]),
)
def test_what_is_written_is_read_back(data, backend, source, score):
    config = load_config(regions={"backend": backend}, semantics={"backend": source})
    if backend != "superpixel":
        config = changed(config, ("regions", "superpixel_score"), score)
    for tag, at, field, _ in data.draw(st.lists(st.sampled_from(FIELDS), max_size=6)):
        if tag in (None, backend, source):
            value = data.draw(values_of(at, field))
            config = changed(config, at, value.model_dump() if isinstance(value, Settings) else value)
    text = to_yaml(config, "mine")
    again = RunConfig.model_validate(yaml.safe_load(text))
    assert again == config
    assert mark(again) == mark(config)


@given(st.data())
def test_the_fingerprint_changes_with_what_can_change_a_label_and_with_nothing_else(data):
    tag, at, field, counts = data.draw(st.sampled_from(FIELDS))
    config = load_config("demo", semantics={"captions": "blip2", "dense_features": {}})
    if tag == "given":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = load_config("demo", ["semantics.backend=given"])
    elif at[0] == "regions":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = load_config("demo", [f"regions.backend={tag}"], semantics={"captions": "blip2"})
    value = data.draw(values_of(at, field))
    other = changed(config, at, value.model_dump() if isinstance(value, Settings) else value)
    idle = at[0] == "regions" and at[1] in config.regions.idle() & other.regions.idle()
    idle |= at[0] == "semantics" and at[1] in config.semantics.idle() & other.semantics.idle()
    assert (mark(config) != mark(other)) == (config != other and counts and not idle)


def test_a_setting_of_another_backend_is_told_and_changes_nothing(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("regions:\n  model: demo\n  words: [car]\n  folder: null\n")
    with pytest.warns(UnusedSettingWarning) as told:
        config = load_config(file)
    assert [str(one.message) for one in told] == [
        f"{file}:3: regions.words has no effect with regions.backend=sam"
    ]
    assert mark(config) == mark(RunConfig())
    assert not hasattr(config.regions, "words")
    with pytest.warns(UnusedSettingWarning, match=r"^argument regions: regions.folder has no effect"):
        load_config(regions={"folder": "maps"})


def test_a_shipped_preset_says_nothing_of_backends_that_it_was_not_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for backend in ("superpixel", "files", "sam3"):
            load_config("demo", [f"regions.backend={backend}"])


def test_the_command_line_says_it_once(monkeypatch, capsys):
    shell = Shell(monkeypatch, capsys)
    for _ in range(2):
        found = shell("config", "--set", "regions.words=[car]")
        assert found.code == 0
        assert found.err.count("warning: --set 'regions.words=[car]': regions.words has no effect") == 1


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("more", [[], ["regions.backend=superpixel"], ["semantics.captions=blip2"]])
def test_labelgen_config_prints_what_config_takes(monkeypatch, capsys, tmp_path, preset, more):
    asked = [*(["--preset", preset] if preset else []), *(word for text in more for word in ("--set", text))]
    found = Shell(monkeypatch, capsys)("config", *asked)
    assert (found.code, found.err) == (0, "")
    file = tmp_path / "printed.yaml"
    file.write_text(found.out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        printed, meant = load_config(file), load_config(preset, more)
    assert printed == meant
    assert mark(printed) == mark(meant)
    for name in type(meant.regions).model_fields:
        assert f"\n  {name}: " in found.out


def test_the_reference_is_current(monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text("utf-8")
    assert Shell(monkeypatch, capsys)("config", "--reference").out == page
    for _, at, _, _ in FIELDS:
        assert f"| `{'.'.join(at)}`" in page


@pytest.mark.parametrize("size", [None, "demo"])
@pytest.mark.parametrize("method", METHODS.own())
def test_labelgen_config_prints_what_a_training_takes(monkeypatch, capsys, tmp_path, method, size):
    more = ["data.max_points=9999", "seed=3"]
    asked = [*(["--size", size] if size else []), *(word for text in more for word in ("--set", text))]
    found = Shell(monkeypatch, capsys)("config", "--method", method, *asked)
    assert (found.code, found.err) == (0, "")
    file = tmp_path / "printed.yaml"
    file.write_text(found.out)
    assert (
        load_train_config(method, None, file).digest() == load_train_config(method, size, None, more).digest()
    )
    for name in METHODS[method].settings.model_fields:
        assert re.search(rf"\n  (# )?{name}:", found.out)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("settings.temprature=1", "settings.temprature: there is no such setting; did you mean temperature?"),
        ("settings.temperature=0", "settings.temperature: a number above 0 up to 1,000 is expected, not 0"),
        ("backbone_settings.cel=1", "backbone_settings.cel: there is no such setting; did you mean cell?"),
        (
            "backbone=waffleiron-2000-8",
            "backbone_settings.layers: a whole number from 1 to 1,024 is expected, not 2000",
        ),
    ],
)
def test_a_trainings_parts_are_checked_before_a_run_is_opened(override, message):
    with pytest.raises(UserError) as caught:
        load_train_config("slidr", "demo", None, [override])
    assert str(caught.value) == f"--set {override!r}: {message}"


@pytest.mark.parametrize(
    "kind", [RunConfig, TrainConfig, *{METHODS[name].settings: None for name in METHODS.own()}]
)
def test_every_setting_says_what_it_means(kind):
    for _, at, field, _ in walk(kind):
        assert field.description, at


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "regions.points_per_side=0",
            "regions.points_per_side: a whole number from 1 to 128 is expected, not 0",
        ),
        ("labels.edge=2", "labels.edge: a number from 0 to 1 is expected, not 2"),
        (
            "fusion.decay_s=0",
            "fusion.decay_s: a number above 0 up to 1,000,000 is expected, not 0",
        ),
        (
            "regions.mode=gird",
            "regions.mode: lidar or grid or boxes is expected, not 'gird'; did you mean grid?",
        ),
        (
            "regions.backend=sma",
            "regions: backend: sam or sam2 or sam3 or superpixel or files is expected, not 'sma'; "
            "did you mean sam?",
        ),
        ("demo.image_size=[1, 900]", "demo.image_size: a list of 2, each a whole number from 32 to 8,192 is"),
        ("projection.ego_box=[1]", "or dataset or null is expected"),
        ("regions=5", "regions: a section of settings is expected, not 5"),
        ("labels.instances=maybe", "labels.instances: true or false is expected, not 'maybe'"),
        (
            "semantics.temprature=1",
            "semantics.temprature: there is no such setting; did you mean temperature?",
        ),
        (
            "semantics.captions=blip",
            "semantics: captions: unknown captioner 'blip'; did you mean blip2?",
        ),
        ("regions.words=car", "regions.words has no effect"),
    ],
)
def test_a_mistake_is_told_in_our_words(override, message):
    if "no effect" in message:
        with pytest.warns(UnusedSettingWarning, match=message):
            load_config(None, [override])
        return
    with pytest.raises(UserError) as caught:
        load_config(None, [override])
    assert str(caught.value).startswith(f"--set {override!r}: ")
    assert message in str(caught.value)


def test_the_layer_that_says_it_last_is_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("optimizer:\n  epochs: 0\n")
    with pytest.raises(UserError, match=rf"^{file}:2: optimizer.epochs: a whole number from 1 to 1,000,000"):
        load_train_config("slidr", "demo", file)
    with pytest.raises(UserError, match=r"^argument optimizer: optimizer.epochs: .* not -1$"):
        load_train_config("slidr", "demo", file, optimizer={"epochs": -1})
    assert load_train_config("slidr", "demo", file, optimizer={"epochs": 3}).optimizer.epochs == 3
    with pytest.raises(UserError, match="did you mean slidr"):
        load_train_config("slid")
    with pytest.raises(UserError, match="did you mean nuscenes"):
        load_config("nuscene")


def test_settings_need_no_models():
    code = (
        "import sys, labelgen.config, labelgen.distill.config, labelgen.core.settings_writing\n"
        "heavy = {'torch', 'ray', 'transformers', 'open_clip', 'skimage', 'numba', 'scipy'}\n"
        "bad = heavy & set(sys.modules)\n"
        "sys.exit(f'{bad} came along' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

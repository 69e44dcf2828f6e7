"""Registries: parts of other packages by name, and what is said where one cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelgen.config import RunConfig, fingerprint, load_config
from labelgen.core.errors import UserError
from labelgen.core.settings_writing import to_markdown, to_yaml
from labelgen.datasets import DATASETS, plan_frames
from labelgen.doctor.plugins import plug_in_packages, plug_ins
from labelgen.models.info import ModelInfo
from labelgen.regions import describe_proposer, make_proposer
from labelgen.regions.registry import REGIONS
from labelgen.regions.settings import SamSettings, SuperpixelSettings
from labelgen.semantics.registry import caption_settings, describe_captioner, make_captioner
from tests.helpers.cli import Shell
from tests.helpers.plugins import install_example, installed, write_package

BROKEN = {
    "raises": "raise RuntimeError('no licence file')",
    "lacks": "import not_there_at_all",
    "leaves": "raise OSError(5, 'disk')",
}


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    install_example(folder)
    with installed(folder):
        yield folder


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(folder):
        yield folder


def told(function, *args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_names_are_listed_without_importing_a_package(site):
    write_package(site, "loud", {"labelgen.regions": {"loud": "loud:X"}}, "raise SystemError('imported')")
    assert REGIONS.names() == ["sam", "sam2", "sam3", "superpixel", "files", "loud"]
    assert load_config(regions={"backend": "superpixel"}).regions.backend == "superpixel"
    assert plug_in_packages() == {"loud": "1.0"}


def test_an_unknown_name_gets_all_names_or_the_nearest(example):
    assert told(REGIONS.__getitem__, "pachtes") == "unknown region proposer 'pachtes'; did you mean patches?"
    assert "patches" in told(REGIONS.__getitem__, "zzz")
    message = told(load_config, None, ["regions.backend=pachtes"])
    assert message.endswith("or files or patches is expected, not 'pachtes'; did you mean patches?")
    assert told(plan_frames, "rug", Path("x")) == "unknown data set 'rug'; did you mean rig?"


@pytest.mark.parametrize("fault", BROKEN)
def test_a_package_that_fails_to_import_breaks_its_own_use_alone(site, fault):
    name = f"bad-{fault}"
    module = name.replace("-", "_")
    groups = {"labelgen.regions": {"mine": f"{module}:X"}, "labelgen.datasets": {"mine": f"{module}:Y"}}
    write_package(site, name, groups, BROKEN[fault])
    assert load_config().regions.backend == "sam"
    assert "semantics:" in to_yaml(load_config(), "all")
    assert {one.group for one in plug_ins() if one.fault} == {"labelgen.regions", "labelgen.datasets"}
    expected = (
        f"'mine' cannot be used: entry point labelgen.regions: mine = {module}:X of {name} 1.0 fails with "
    )
    message = told(load_config, None, ["regions.backend=mine"])
    assert message.startswith(f"--set 'regions.backend=mine': regions: region proposer {expected}")
    assert "\n" not in message
    assert told(plan_frames, "mine", site).startswith("data set 'mine' cannot be used: entry point")
    assert "cannot be used" in DATASETS.about()["mine"]


def test_a_name_that_two_packages_bring_is_refused(site):
    write_package(site, "three-pack", {"labelgen.regions": {"sam": "three_pack:X"}}, "X = 1")
    for name in ("one-pack", "two-pack"):
        points = {"labelgen.regions": {"same": f"{name.replace('-', '_')}:X"}}
        write_package(site, name, points, "X = 1")
    message = "region proposer 'same' is provided by one-pack 1.0 and by two-pack 1.0; uninstall one"
    assert told(REGIONS.__getitem__, "same") == message
    for function in (lambda: load_config(regions={"backend": "sam"}), lambda: make_proposer(SamSettings())):
        assert "region proposer 'sam' is provided by labelgen and by three-pack 1.0" in told(function)
    assert load_config(regions={"backend": "superpixel"}).regions.backend == "superpixel"
    assert sum("uninstall one" in one.fault for one in plug_ins()) == 3


def test_what_is_no_backend_is_told(site):
    code = (
        "from labelgen.models.backend import Backend\n"
        "from labelgen.regions.settings import SamSettings\n"
        "WRONG = Backend('it', SamSettings, None, None)\n"
    )
    points = {"number": "odd:__name__", "named": "odd:WRONG"}
    write_package(site, "odd", {"labelgen.regions": points}, code)
    assert "is a str, not a labelgen.models.backend.Backend" in told(REGIONS.__getitem__, "number")
    assert 'needs the field backend: Literal["named"] = "named"' in told(REGIONS.__getitem__, "named")


def test_its_settings_are_checked_written_and_counted_like_ours(example, tmp_path):
    config = load_config(regions={"backend": "patches", "steps": 5})
    assert config.regions.steps == 5
    file = tmp_path / "printed.yaml"
    file.write_text(to_yaml(config, "mine"))
    assert "\n  steps: 5" in file.read_text()
    assert load_config(file) == config
    message = told(load_config, None, ["regions.backend=patches", "regions.stepps=1"])
    assert message.endswith("regions.stepps: there is no such setting; did you mean steps?")
    message = told(load_config, None, ["regions.backend=patches", "regions.steps=99"])
    assert message.endswith("regions.steps: a whole number from 1 to 32 is expected, not 99")

    def mark(config: RunConfig, **info: str) -> str:
        model = ModelInfo(**{"name": "patches", "revision": "1", "licence": "x", "weights": ""} | info)
        return fingerprint(config, "t", [model.to_dict()])

    other = config.model_copy(update={"regions": config.regions.model_copy(update={"steps": 6})})
    drawn = config.model_copy(update={"regions": config.regions.model_copy(update={"label_map": True})})
    assert mark(other) != mark(config) == mark(drawn)
    assert config.label_settings()["regions"] == {"backend": "patches", "steps": 5, "cell": 4}
    assert mark(config, package="p 1", revision="2") != mark(config, package="p 1")
    assert mark(config, package="p 2") == mark(config, package="p 1")
    assert mark(config, revision="2") == mark(config)  # as it is for ours


def test_the_reference_page_is_of_our_own_backends(example):
    assert "patches" not in "\n".join(to_markdown(RunConfig))


def test_a_run_records_the_package(example):
    config = load_config(regions={"backend": "patches"}).regions
    info = describe_proposer(config)
    assert info.to_dict()["package"] == "labelgen-example 0.1.0"
    assert "package" not in describe_proposer(SuperpixelSettings()).to_dict()


def test_what_a_package_raises_is_one_line(site):
    code = (
        "from typing import Literal\n"
        "from labelgen.models.backend import Backend\n"
        "from labelgen.regions.settings import Proposer\n"
        "class S(Proposer):\n"
        "    backend: Literal['faulty'] = 'faulty'\n"
        "def fail(*_):\n"
        "    raise KeyError('no\\nweights')\n"
        "FAULTY = Backend('it', S, fail, fail)\n"
    )
    write_package(site, "faulty-pack", {"labelgen.regions": {"faulty": "faulty_pack:FAULTY"}}, code)
    config = load_config(regions={"backend": "faulty"}).regions
    for function in (describe_proposer, make_proposer):
        message = told(function, config)
        assert message.startswith("region proposer 'faulty' of faulty-pack 1.0: KeyError: ")
        assert "\n" not in message


def test_the_command_line_lists_them(example, monkeypatch, capsys):
    shell = Shell(monkeypatch, capsys)
    assert "labelgen-example 0.1.0" in shell("datasets", "list", "--json").json["rig"]
    printed = shell("config", "--set", "regions.backend=patches")
    assert printed.code == 0
    assert "(sam or sam2 or sam3 or superpixel or files or patches; default patches)" in printed.out.replace(
        "\n  # ", " "
    )
    json.dumps(load_config(semantics={"backend": "colour"}).model_dump(mode="json"))


def test_a_captioner_of_another_package(site):
    code = (
        "from labelgen.models.backend import Backend\n"
        "from labelgen.models.info import ModelInfo\n"
        "from labelgen.semantics.settings import CaptionSettings\n"
        "class Teller:\n"
        "    def caption(self, images, regions, rows=None):\n"
        "        return ('a car',) * len(regions)\n"
        "TELLER = Backend('says car', CaptionSettings, lambda config: ModelInfo('teller', '1', 'MIT', ''),\n"
        "                 lambda config, device, threads: Teller())\n"
    )
    write_package(site, "teller", {"labelgen.captioners": {"teller": "teller:TELLER"}}, code)
    settings = caption_settings(load_config(semantics={"captions": "teller"}).semantics)
    assert describe_captioner(settings).to_dict()["package"] == "teller 1.0"
    assert make_captioner(settings).caption([], [1, 2]) == ("a car", "a car")
    message = told(load_config, None, ["semantics.captions=telller"])
    assert message.endswith("semantics: captions: unknown captioner 'telller'; did you mean teller?")

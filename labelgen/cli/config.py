"""``labelgen config``: every setting of a run, what it means and what it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelgen.core.errors import UserError

if TYPE_CHECKING:
    from labelgen.core.settings import Settings


def config(
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", "--config", help="A preset or a YAML file. Default: the defaults.", show_default=False
        ),
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Override: section.field=value. Repeatable.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="Settings of a training method instead, such as slidr.", show_default=False
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Size of the training, such as demo.", show_default=False)
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print docs/settings.md: all settings of all backends.")
    ] = False,
) -> None:
    """Print a YAML file with every setting of a run, its meaning, default and range; for `--config`.

    Examples: `labelgen config --preset nuscenes --set regions.model=vit_b > mine.yaml`,
    `labelgen config --method slidr --size demo > mine.yaml`
    """
    from labelgen.config import load_config
    from labelgen.core.settings_writing import to_yaml

    given = {"--method": method, "--size": size, "--preset": preset}
    words = [f"{name} {value}" for name, value in given.items() if value is not None]
    asked = " ".join(["labelgen config", *words, *(f"--set {text}" for text in override or ())])
    if reference:
        text = reference_page()
    elif method is not None:
        text = training_file(method, size, preset, override or (), f"From `{asked}`, for `--config FILE`.")
    elif size is not None:
        raise UserError("--size applies to a training; give its --method, too")
    else:
        settings = load_config(preset, override or ())
        text = to_yaml(settings, f"From `{asked}`, for `labelgen run --config FILE`.")
    typer.echo(text, nl=False)


def training_file(
    method: str, size: str | None, file: str | None, overrides: Iterable[str], head: str
) -> str:
    """A YAML file with every setting of a training; see `labelgen.distill.config.load_train_config`."""
    from labelgen.core.settings_writing import to_yaml
    from labelgen.distill.config import load_train_config
    from labelgen.distill.registry import METHODS, NETWORKS, network_of

    settings = load_train_config(method, size, None if file is None else Path(file), overrides)
    network, _ = network_of(settings.backbone)
    parts: dict[str, type[Settings]] = {
        "settings": METHODS[settings.method].settings,
        "backbone_settings": NETWORKS[network].settings,
    }
    return to_yaml(settings, head, parts)


def reference_page() -> str:
    """Content of ``docs/settings.md``."""
    from labelgen.config import RunConfig
    from labelgen.core.settings_writing import to_markdown
    from labelgen.distill.config import TrainConfig
    from labelgen.distill.registry import METHODS, NETWORKS

    parts: dict[str, type[Settings]] = {}
    methods = {name: METHODS[name].settings for name in METHODS.own()}
    for kind in dict.fromkeys(methods.values()):
        names = " and ".join(name for name, one in methods.items() if one is kind)
        if kind.model_fields:
            parts[f"settings, of {names}"] = kind
    parts |= {f"backbone_settings, of {name}": NETWORKS[name].settings for name in NETWORKS.own()}

    return "\n".join(
        [
            "# Settings",
            "",
            "`labelgen config --reference` writes this page from the settings' own definitions.",
            "`labelgen config` prints a file with all settings of a run; any of them can be set with",
            "`--set section.field=value`, where the value is YAML. A section with several backends has the",
            "chosen one's settings and no others: a setting of another backend is ignored with a line that",
            "says so. `†`: not in the fingerprint of a run, as it changes no label, or as what it names is",
            "in there by its hash.",
            "",
            'In Python: `load_config("nuscenes", regions={"model": "vit_b"})`, and likewise',
            '`load_train_config("slidr", "demo", optimizer={"epochs": 5})`.',
            "",
            "## Of a run",
            "",
            *to_markdown(RunConfig),
            "",
            "## Of a training",
            "",
            "`settings` are the method's, `backbone_settings` the network's. `†`: changes no weights.",
            "`labelgen config --method slidr --size demo` prints a file of them.",
            "",
            *to_markdown(TrainConfig),
            *(line for part in parts.items() for line in _table(*part)),
            "",
        ]
    )


def _table(title: str, kind: type[Settings]) -> list[str]:
    from labelgen.core.settings_writing import to_markdown

    return ["", f"### {title}", "", *to_markdown(kind, f"{title.partition(',')[0]}.")]

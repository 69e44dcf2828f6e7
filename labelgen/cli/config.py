"""``labelgen config``: every setting of a run, what it means and what it is."""

from __future__ import annotations

from typing import Annotated

import typer


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
    reference: Annotated[
        bool, typer.Option("--reference", help="Print docs/settings.md: all settings of all backends.")
    ] = False,
) -> None:
    """Print a YAML file with every setting of a run, its meaning, default and range; for `--config`.

    Example: `labelgen config --preset nuscenes --set regions.model=vit_b > mine.yaml`
    """
    from labelgen.config import load_config
    from labelgen.settings_writing import to_yaml

    if reference:
        typer.echo(reference_page(), nl=False)
        return
    asked = "".join([f" --preset {preset}" if preset else "", *(f" --set {text}" for text in override or ())])
    head = f"From `labelgen config{asked}`, for `labelgen run --config FILE`."
    typer.echo(to_yaml(load_config(preset, override or ()), head), nl=False)


def reference_page() -> str:
    """Content of ``docs/settings.md``."""
    from labelgen.config import RunConfig
    from labelgen.distill.config import TrainConfig
    from labelgen.settings_writing import to_markdown

    return "\n".join(
        [
            "# Settings",
            "",
            "`labelgen config --reference` writes this page from the settings' own definitions.",
            "`labelgen config` prints a file with all settings of a run; any of them can be set with",
            "`--set section.field=value`, where the value is YAML. A section with several backends has the",
            "chosen one's settings and no others: one of another backend is passed over with a line that",
            "says so. `†`: not in the fingerprint of a run, as it changes no label, or as what it names is",
            "in there by its hash.",
            "",
            "## Of a run",
            "",
            *to_markdown(RunConfig),
            "",
            "## Of a training",
            "",
            "`settings` are the method's, `backbone_settings` the network's.",
            "",
            *to_markdown(TrainConfig),
            "",
        ]
    )

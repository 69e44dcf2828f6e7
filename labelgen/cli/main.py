"""The ``labelgen`` command: puts the command groups together and turns errors into one line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from labelgen import __version__
from labelgen.cli import (
    config,
    datasets,
    derive,
    doctor,
    exports,
    inspect,
    models,
    plan,
    run,
    taxonomy,
    train,
    train_panoptic,
    verify,
    world,
)
from labelgen.cli import viewing as look
from labelgen.cli.app import App
from labelgen.cli.console import PlainConsole, complain, warnings_as_lines
from labelgen.core.errors import LabelgenError
from labelgen.core.redact import redact
from labelgen.io.scratch import sweep

if TYPE_CHECKING:
    from labelgen.engine.recipe import Recipe

#: {package: extra that installs it}.
EXTRAS = {
    **dict.fromkeys(("cv2", "numba", "pycocotools", "scipy", "skimage", "sklearn"), "labels"),
    **dict.fromkeys(("open_clip", "segment_anything", "torch", "torchvision", "transformers"), "models"),
    **dict.fromkeys(("huggingface_hub", "safetensors"), "models"),
    "ray": "ray",
    "nuscenes": "nuscenes",
    "rerun": "viz",
    "obstore": "s3",
}

app = App(
    "Turn driving logs (LiDAR and cameras) into per-point pseudo-labels and cached 2D features.",
    name="labelgen",
)
app.command("check")(datasets.check)
app.command("plan")(plan.plan)
app.command("doctor")(doctor.doctor)
app.command("run")(run.run)
app.command("label", hidden=True)(run.run)  # the verb's name in Python
app.command("config")(config.config)
app.command("inspect")(inspect.inspect)
app.command("evaluate")(inspect.evaluate)
app.command("report")(inspect.report)
app.command("revote")(derive.revote)
app.command("refine")(derive.refine)
app.command("fuse")(derive.fuse)
app.command("verify")(verify.verify)
app.command("index")(verify.index)
app.command("compact")(verify.compact)
app.command("diff")(look.diff)
app.command("view")(look.view)
app.command("export")(exports.export)
app.command("import")(exports.import_)
app.add_typer(datasets.app, name="datasets")
app.add_typer(world.app, name="world")
app.add_typer(models.app, name="models")
app.add_typer(taxonomy.app, name="taxonomy")
train.app.command("panoptic")(train_panoptic.panoptic)
app.add_typer(train.app, name="train")


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        typer.echo(f"labelgen {__version__}")
        raise typer.Exit()


def main(prefix: Sequence[str] = (), recipe: Recipe | None = None) -> None:
    """Run the command line; the user's errors are one line on stderr and exit code 2.

    Args:
        prefix: put before the arguments; ``python -m pipelines.pseudolabels`` gives ``run``.
        recipe: makes the steps of ``run``; the default ones if None.
    """
    if not prefix and sys.argv[1:] == ["--version"]:
        # Typer would load what takes longer than all the rest.
        print(f"labelgen {__version__}")
        return
    sweep()
    try:
        with warnings_as_lines():
            app(args=[*prefix, *sys.argv[1:]], obj=recipe)
    except LabelgenError as error:
        complain(PlainConsole(stderr=True), "error", str(error))
        sys.exit(2)
    except BrokenPipeError:  # `labelgen … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # of a disk, at a place where nobody expected it
        where = f"{error.filename}: " if error.filename else ""
        complain(PlainConsole(stderr=True), "error", f"{where}{error.strerror or error}")
        sys.exit(2)
    except Exception as error:
        lacking = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if (extra := EXTRAS.get(lacking.partition(".")[0])) is not None:
            message = f"this needs {lacking}: pip install 'labelgen[{extra}]', or all of it: 'labelgen[all]'"
            complain(PlainConsole(stderr=True), "error", message)
            sys.exit(2)
        # Ours to mend: the traceback as Python prints it, but for credentials.
        sys.stderr.write(redact(traceback.format_exc()))
        sys.exit(1)


if __name__ == "__main__":
    main()

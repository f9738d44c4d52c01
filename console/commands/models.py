"""`ai-assistant models`: get the default model, and see which models there are."""

from pathlib import Path

import click
import msgspec

from console.invocation import Invocation, as_json, with_settings
from console.terminal import plain, print_json, print_table, size
from engine.errors import Refused
from streams.settings import Settings


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model that could answer. `use`: it is the one that is configured."""

    path: str
    use: bool
    state: str
    bytes: int = 0
    architecture: str = ""
    name: str = ""
    context_tokens: int = 0


@click.group()
def models() -> None:
    """Fetch the default model, and list models.

    \b
    To use another model:
      MODEL_PATH=/path/to/model.gguf ai-assistant run       a GGUF file of yours
      AI_ASSISTANT_MODEL__KIND=openai ...                   a server: see [model] in the settings
    """


@models.command(short_help="Get the default model (98 MB, English only, once).")
@with_settings
@click.option("--if-needed", is_flag=True, help="Fetch nothing where another model is set.")
def fetch(at: Invocation, if_needed: bool) -> None:
    """Get the default model into the data directory (98 MB, English only, once)."""
    from models.fetch import fetch_default

    settings = at.settings()
    other = _other_model(settings)
    if if_needed and other:
        click.echo(f"  the default model is not needed: {other}")
        return
    path = fetch_default(settings.server.data_dir, lambda line: click.echo(f"  {line}"))
    click.echo(f"  the default model is in {path}")


@models.command(name="list", short_help="List the fetched models and the configured one.")
@with_settings
@as_json
def list_(at: Invocation, as_json: bool) -> None:
    """List the models of the data directory and the one that is configured."""
    found = model_rows(at.settings())
    if as_json:
        print_json(found)
        return
    print_table(
        ("USED", "MODEL", "SIZE", "KIND", "STATE"),
        [
            (
                "*" if row.use else "",
                plain(row.path),
                size(row.bytes) if row.bytes else "-",
                plain(row.architecture) or "-",
                plain(row.state),
            )
            for row in found
        ],
    )


def model_rows(settings: Settings) -> list[ModelRow]:
    """The configured model first, then the others of the data directory."""
    from models.fetch import FILE_NAME

    if settings.model.kind == "openai":
        place = f"{settings.model.model} at {settings.model.base_url}"
        used = [ModelRow(path=place, use=True, state="a server: `doctor` asks it")]
        path = None
    elif settings.model.kind == "scripted":
        used = [ModelRow(path="scripted", use=True, state="answers by a script, for tests")]
        path = None
    else:
        path = model_file(settings)
        used = [_row(path, use=True)]
    folder = settings.server.data_dir / "models"
    others = sorted({*folder.glob("*.gguf"), folder / FILE_NAME} - {path})
    return used + [_row(other, use=False) for other in others]


def model_file(settings: Settings) -> Path:
    """The file of a llama model: the configured one, else the default model's place."""
    from models.fetch import FILE_NAME

    return settings.model.path or settings.server.data_dir / "models" / FILE_NAME


def _other_model(settings: Settings) -> str:
    """Which model answers instead of the default one, and what says so; empty where none does."""
    kind, path = (settings.origin(f"model.{key}") for key in ("kind", "path"))
    if settings.model.kind != "llama":
        return f"model.kind is {settings.model.kind} ({kind})"
    return f"model.path is {plain(str(settings.model.path))} ({path})" if path != "default" else ""


def _row(path: Path, *, use: bool) -> ModelRow:
    from models.gguf_header import read_header

    if not path.exists():
        return ModelRow(path=str(path), use=use, state="not fetched: ai-assistant models fetch")
    try:
        header = read_header(path)
    except Refused as error:
        return ModelRow(path=str(path), use=use, state=str(error), bytes=path.stat().st_size)
    return ModelRow(
        path=str(path),
        use=use,
        state="ready",
        bytes=header.file_bytes,
        architecture=header.architecture,
        name=header.name,
        context_tokens=header.context_length,
    )

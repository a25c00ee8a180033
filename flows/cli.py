"""The `sweetspot` command: run, serve, doctor, verify, show, audit.

Exit codes: 0 done; 1 the data or the run failed a check; 2 wrong usage or settings; 3 an external system failed.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from sweetspot.errors import ConfigError, EngineError, StoreError, SweetspotError

FAILED_CHECK, WRONG_USAGE, EXTERNAL = 1, 2, 3

app = typer.Typer(
    help="Prompts in; a cleaned, margin-selected, versioned preference dataset and a trained policy out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True, highlight=False)

ConfigFile = Annotated[Path, typer.Argument(help="YAML file; its key `flow:` names nightly, curate, train or audit.")]
Set = Annotated[list[str], typer.Option("--set", help="Override one setting, as in --set sampling.n=64. Repeatable.")]


@app.command()
def run(
    config: ConfigFile,
    overrides: Set = [],  # noqa: B006  (typer reads the default, nobody changes it)
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print settings, planned rows and tokens; run nothing.")
    ] = False,
) -> None:
    """Run the flow named in the file, in this process."""
    from flows.running import plan, run_flow
    from sweetspot.configfile import load_config

    name, settings = load_config(config, overrides)
    plan(name, settings) if dry_run else run_flow(name, settings)


@app.command()
def serve(
    configs: Annotated[list[Path] | None, typer.Argument(help="YAML files to deploy; without any, the demo's.")] = None,
    port: Annotated[int, typer.Option(help="Port of the Prefect server, on this machine only.")] = 4200,
) -> None:
    """Bring up the Prefect server, a worker and the deployments; prints the address of the UI."""
    from flows.serving import serve_until_stopped

    serve_until_stopped(configs or [], port=port)


@app.command()
def doctor(config: Annotated[Path | None, typer.Argument(help="YAML file to check against.")] = None) -> None:
    """Check versions, engines, the store and the models, and say what each would need."""
    from flows.doctor import examine

    raise typer.Exit(0 if examine(config) else FAILED_CHECK)


@app.command()
def verify(uri: Annotated[str, typer.Argument(help="URI of a version, or of a dataset for its latest one.")]) -> None:
    """Hash every file of a delivered version again; exit 1 and the key on any difference."""
    from flows.reading import verify_version

    raise typer.Exit(0 if verify_version(uri) else FAILED_CHECK)


@app.command()
def show(
    uri: Annotated[str, typer.Argument(help="URI of a version, or of a dataset for its latest one.")],
    prompt: Annotated[str, typer.Option(help="Follow this prompt_id through every table.")] = "",
) -> None:
    """Show a dataset version, or one prompt followed through every table."""
    from flows.reading import show_prompt, show_version

    show_prompt(uri, prompt) if prompt else show_version(uri)


@app.command()
def audit(
    path: Annotated[
        str, typer.Argument(help="Pairs, scored responses or votes: .parquet, .jsonl, .json, .csv or datasets:NAME.")
    ],
    out: Annotated[
        str, typer.Option(help="Folder or s3:// address for the report and a cleaned version.")
    ] = "out/audit",
    format: Annotated[str, typer.Option(help="pairs, responses, votes or a layout; default: found by columns.")] = "",
    column: Annotated[list[str], typer.Option(help="ROLE=NAME, as in prompt=question. Repeatable.")] = [],  # noqa: B006
    clean: Annotated[str, typer.Option(help="flag, drop, flip or reweight doubtful labels, and publish.")] = "none",
    select: Annotated[float, typer.Option(help="Share of the rows to keep by their margins (BeeS).")] = 1.0,
    against: Annotated[list[str], typer.Option(help="Benchmark file the rows must not overlap with.")] = [],  # noqa: B006
    prompts: Annotated[str, typer.Option(help="File of prompts you expect in use, to measure coverage.")] = "",
    stress: Annotated[bool, typer.Option("--stress", help="Plant errors and report what would be caught.")] = False,
    overrides: Set = [],  # noqa: B006  (typer reads the default, nobody changes it)
) -> None:
    """Check someone's own preference data, say what is wrong with it, and if asked clean it."""
    from flows.audit import audit_file
    from sweetspot.configfile import audit_settings

    settings = audit_settings(column, overrides)
    chosen = {"clean": clean, "against": against, "prompts": prompts, "stress": stress, **settings}
    if select != 1.0:
        chosen["selection"] = {**chosen.get("selection", {}), "keep_fraction": select}
    audit_file(path, out=out, format=format, **chosen)


def main() -> None:
    """Entry point: runs a command and turns errors into one clear message and an exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except (EngineError, StoreError) as error:
        _stop(error, EXTERNAL)
    except ConfigError as error:
        _stop(error, WRONG_USAGE)
    except ValidationError as error:
        errors.print("wrong settings:")
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            errors.print(f"  {where}: {problem['msg']} (got {str(problem['input'])[:80]!r})", markup=False)
        sys.exit(WRONG_USAGE)
    except SweetspotError as error:
        _stop(error, FAILED_CHECK)
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        error.show()  # pyright: ignore[reportAttributeAccessIssue]  (click's own usage errors)
        sys.exit(WRONG_USAGE)


def _stop(error: SweetspotError, code: int) -> None:
    errors.print(f"{type(error).__name__}: {error}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""The `sweetspot` command: run, serve, doctor, sweep, keygen, verify, show, audit.

Exit codes: 0 done; 1 the data or the run failed a check; 2 wrong usage or settings; 3 an external system failed;
130 stopped by Ctrl-C or SIGTERM.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from sweetspot.errors import ConfigError, EngineError, StoreError, SweetspotError

FAILED_CHECK, WRONG_USAGE, EXTERNAL, STOPPED = 1, 2, 3, 130

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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so it is cleaned up as after Ctrl-C
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
def doctor(
    target: Annotated[
        str, typer.Argument(help="YAML file to check against, or the URI of a dataset, to see where its runs stand.")
    ] = "",
) -> None:
    """Check versions, engines, the store and the models, or say where the runs of a dataset stand."""
    from flows.doctor import examine, examine_dataset

    well = examine_dataset(target) if "://" in target else examine(Path(target) if target else None)
    raise typer.Exit(0 if well else FAILED_CHECK)


@app.command()
def sweep(
    uri: Annotated[str, typer.Argument(help="URI of a dataset.")],
    older_than_days: Annotated[float, typer.Option(min=0.0, help="Younger objects may still be needed.")] = 7.0,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """List or remove what interrupted runs left behind and nobody refers to."""
    from flows.sweeping import sweep_dataset

    sweep_dataset(uri, older_than_days=older_than_days, delete=delete)


@app.command()
def verify(
    uri: Annotated[str, typer.Argument(help="URI of a version, or of a dataset for its latest one.")],
    public_key: Annotated[str, typer.Option(help="Publisher's public key file; the manifest must be signed.")] = "",
) -> None:
    """Hash and count every file of a delivered version again; exit 1 and the key of any that is wrong."""
    from flows.reading import verify_version

    raise typer.Exit(0 if verify_version(uri, public_key=public_key) else FAILED_CHECK)


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="Where the private key goes; PATH.pub gets the public one.")],
) -> None:
    """Make a pair of keys to sign versions with; keep the private one outside the store."""
    from tasks._keys import make_keys

    public, name = make_keys(path)
    typer.echo(f"private    {path}   (set signing.private_key where versions are published)")
    typer.echo(f"public     {public}   (set signing.public_key where they are trained on)\nkey        {name}")


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
    except (KeyboardInterrupt, typer.Abort):
        errors.print("stopped; what is committed is safe, start the run again and it goes on from there")
        sys.exit(STOPPED)
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

"""`cluster experiment`: load, faults and telemetry as one run, and the bundle that it leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cli import display
from cli import experiment_views as views
from cli.experiment_views import TAGS
from experiments.bundle import layout, manifest, reading
from experiments.configuration import parameters, resolving, suites
from experiments.configuration.errors import ConfigurationError
from experiments.errors import ExperimentError
from operate import ownership
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS, OperatorError

Command = Callable[..., None]


def refusals(function: Command) -> Command:
    """What stands in the way of an experiment, as the operator's: a line, of a configuration one for each problem."""

    @wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except ConfigurationError as error:
            if len(error.problems) == 1:
                raise OperatorError(error.problems[0]) from None
            for problem in error.problems:
                display.words().print(problem, markup=False)
            raise OperatorError(f"{len(error.problems)} problems; nothing was run") from None
        except ExperimentError as error:
            raise OperatorError(str(error)) from None

    return guarded


def _tags(_context: click.Context, _parameter: click.Parameter, given: str | None) -> frozenset[str]:
    if given is None:
        return frozenset(TAGS)
    wanted = [word.strip() for word in given.split(",") if word.strip()]
    strange = [word for word in wanted if word not in TAGS]
    if strange or not wanted:
        said = strange[0] if strange else "nothing"
        raise OperatorError(f"--tags {given}: {said} is no tag; the tags are {', '.join(TAGS)}")
    return frozenset(wanted)


def _words(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in suites.names() if name.startswith(incomplete)]


def _bundles(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [path.name for path in layout.bundles(Path(layout.FETCHED)) if path.name.startswith(incomplete)]


to = click.option(
    "--to",
    "fetched",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(layout.FETCHED),
    show_default=True,
    metavar="DIRECTORY",
    help="Where bundles lie.",
)
extra = click.option(
    "-e", "words", multiple=True, metavar="KEY=VALUE", help="A parameter, over all files; several times."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
given_bundle = click.argument("given", metavar="BUNDLE", shell_complete=_bundles)


@click.group("experiment")
def command() -> None:
    """Run load, faults and telemetry as an experiment, and read what it leaves.

    BUNDLE is a directory, an id, the beginning of one, or `last`.
    """


@command.command("run")
@click.argument("what", metavar="FILE|SUITE", shell_complete=_words)
@click.option("--tags", callback=_tags, metavar="TAGS", help=f"Only these parts, with commas: {', '.join(TAGS)}.")
@extra
@to
@click.option("--resume", is_flag=True, help="Go on where the last run of it was stopped; what is complete stays.")
@as_json
@click.pass_obj
@refusals
def run(
    name: str, what: str, tags: frozenset[str], words: tuple[str, ...], fetched: Path, resume: bool, as_json: bool
) -> None:
    """Run an experiment, or all of a suite; each leaves a bundle in `fetched/`.

    All parameters are validated first. Stopped with Ctrl-C, it leaves a partial bundle that can be read.
    Exit status 0: every run came to its end and is valid. 1: one did not, or is invalid. 2: it could not be told.
    """
    from experiments.runs.suite import run_suite

    suite, given = suites.load(what), resolving.command_line(words)
    with display.progress() as progress:
        outcomes = run_suite(name, suite, given, progress, tags=tags, fetched=fetched, resume=resume)
    views.finished(outcomes, as_json)


@command.command("replay")
@given_bundle
@to
@as_json
@click.pass_obj
@refusals
def replay(name: str, given: str, fetched: Path, as_json: bool) -> None:
    """Run the experiment of BUNDLE again on this cluster, as it was configured, and say what differs by then."""
    from experiments.runs import deploying, replaying
    from experiments.runs.run import run as run_one
    from experiments.runs.suite import Outcome

    bundle = reading.find(given, fetched)
    cluster = ownership.load(name)
    order = replaying.order(bundle, cluster, fetched)
    for difference in replaying.differences(bundle, cluster):
        display.words().print(f"since {bundle.name}: {difference}", style="yellow", markup=False)
    with display.progress() as progress:
        try:
            finished = run_one(order, progress)
        except BaseException:
            deploying.forget(name)
            raise
        deploying.restore(name, progress)
    views.finished([Outcome(order.name, finished)], as_json)


@command.command("list")
@to
@as_json
@refusals
def list_(fetched: Path, as_json: bool) -> None:
    """List the suites and the bundles that there are."""
    known = [suites.load(name) for name in suites.names()]
    found = [views.read(path) for path in layout.bundles(fetched)]
    if as_json:
        display.emit(
            {
                "suites": [
                    {"name": suite.name, "description": suite.description, "experiments": len(suite.experiments)}
                    for suite in known
                ],
                "bundles": [views.row(entry) for entry in found],
            }
        )
        return
    columns = ("suite", "experiments", "about")
    display.table("Suites", columns, [(one.name, str(len(one.experiments)), one.description) for one in known])
    rows = [tuple(str(value or "-") for value in views.row(entry).values()) for entry in found]
    display.table(f"Bundles in {fetched}", ("id", "cluster", "began", "state", "verdict"), rows)


@command.command("show")
@click.argument("what", metavar="FILE|SUITE|BUNDLE", shell_complete=_words)
@click.option("--resolved", is_flag=True, help="Every parameter, its value, and the file and line that it is from.")
@click.option("--check", "checked", is_flag=True, help="Compare a bundle's files with its manifest.")
@extra
@to
@as_json
@click.pass_obj
@refusals
def show(
    name: str, what: str, resolved: bool, checked: bool, words: tuple[str, ...], fetched: Path, as_json: bool
) -> None:
    """Show what an experiment or a suite would run, or what a bundle holds. Nothing is run, no host is asked."""
    bundle: Path | None = None
    try:
        suites.find(what)
    except ConfigurationError as no_suite:
        try:
            bundle = reading.find(what, fetched)
        except ExperimentError as no_bundle:
            raise OperatorError(f"{no_suite}; {no_bundle}") from None
    if bundle is None:
        if checked:
            raise OperatorError(f"{what}: no bundle in {fetched}; --check compares one with its manifest")
        views.show_suite(name, what, words, resolved, as_json)
    elif checked:
        views.check(bundle, as_json)
    elif resolved:
        views.show_sources(bundle, as_json)
    else:
        views.show_bundle(bundle, as_json)


@command.command("check")
@given_bundle
@to
@as_json
@refusals
def check(given: str, fetched: Path, as_json: bool) -> None:
    """Compare every file of BUNDLE with its manifest: one changed byte is found. Needs neither cluster nor network.

    Exit status 0: all is as it was written. 1: something is not. 2: there is no manifest.
    """
    views.check(reading.find(given, fetched), as_json)


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of experiments and suites, for editors."""
    display.emit(parameters.schema())


@command.command("compare")
@click.argument("one", metavar="A", shell_complete=_bundles)
@click.argument("other", metavar="B", shell_complete=_bundles)
@click.option("--alike", multiple=True, metavar="BUNDLE", help="A bundle of one thing, for the noise; several times.")
@click.option("--blocks", type=click.IntRange(2, 100), default=4, show_default=True, help="Of files: A/B blocks.")
@click.option(
    "--alike-blocks", type=click.IntRange(1, 100), default=2, show_default=True, help="Of files: A/A blocks before."
)
@click.option("--tags", callback=_tags, metavar="TAGS", help="Of files: only these parts of each run.")
@extra
@to
@as_json
@click.pass_obj
@refusals
def compare(
    name: str,
    one: str,
    other: str,
    alike: tuple[str, ...],
    blocks: int,
    alike_blocks: int,
    tags: frozenset[str],
    words: tuple[str, ...],
    fetched: Path,
    as_json: bool,
) -> None:
    """Compare B with A: the noise first, the smallest effect that could be shown, then the differences.

    A and B are bundles, or files of an experiment each, which are run in turns, four runs a block: first A against
    itself, then A and B. Exit status 0: no difference was shown. 1: B differs. 2: it cannot be told.
    """
    from experiments.comparison.bundles import compare as compare_bundles
    from experiments.runs.comparing import run_in_turns, said

    if Path(one).is_file() and Path(other).is_file():
        both, given = (suites.load(one), suites.load(other)), resolving.command_line(words)
        with display.progress() as progress:
            sides = run_in_turns(
                name, both, given, progress, alike=alike_blocks, blocks=blocks, tags=tags, fetched=fetched
            )
        for line in said(sides):
            display.words().print(line, markup=False)
        found = compare_bundles(sides.a, sides.b, alike=sides.alike)
    else:
        found = compare_bundles(
            reading.find(one, fetched),
            reading.find(other, fetched),
            alike=[reading.find(bundle, fetched) for bundle in alike],
        )
    if as_json:
        display.emit(found)
    else:
        for line in found.lines():
            display.results().print(line, markup=False)
    sys.exit(COULD_NOT_TELL if found.differs is None else DOES_NOT_HOLD if found.differs else HOLDS)


@command.command("report")
@given_bundle
@to
@refusals
def report(given: str, fetched: Path) -> None:
    """Write BUNDLE's report, one HTML file that opens offline, and show its short form.

    Made of the bundle alone; what was not collected is said so. The manifest takes the new file in.
    """
    from experiments.report import html, terminal

    bundle = reading.find(given, fetched)
    written = html.write(bundle)
    if (bundle / layout.MANIFEST).is_file():
        manifest.renew(bundle, [layout.REPORT])
    for line in terminal.lines(bundle):
        display.results().print(line, markup=False)
    display.words().print(f"{written} is written", markup=False)

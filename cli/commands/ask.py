"""`cluster ask`: one question to the cluster's API."""

from __future__ import annotations

import click

from cli import display
from facts.programs.characters import complaint
from operate import ownership
from operate.api import ask


@click.command("ask")
@click.argument("question")
@click.option(
    "--max-tokens", type=click.IntRange(1, 32768), default=128, show_default=True, help="Length of the answer."
)
@click.option(
    "--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True, help="0: the same answer each time."
)
@click.option("--model", default="", metavar="NAME", help="Which model, of several.  [default: the inventory's first]")
@click.option("--json", "as_json", is_flag=True, help="Print answer, node and timing as JSON.")
@click.pass_obj
def command(name: str, question: str, max_tokens: int, temperature: float, model: str, as_json: bool) -> None:
    """Ask QUESTION; prints the answer and the node that gave it."""
    if not question.strip():
        raise click.UsageError("the question is empty; as in: cluster ask 'What is the capital of France?'")
    if wrong := complaint(question):
        raise click.UsageError(f"the question is no text: {wrong}")
    cluster = ownership.load(name)
    answer = ask(cluster, question, max_tokens=max_tokens, temperature=temperature, model=model)
    if as_json:
        display.emit(answer.to_json())
        return
    display.results().print(answer.answer, markup=False)
    display.words().print(f"answered by {answer.node} in {answer.seconds:.2f} s", style="dim")

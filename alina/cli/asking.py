"""A question to the model of the running system."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, printable, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alina.domain.runs import Answer
    from alina.llm.streaming import StreamEvent


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="In plain words, in quotes.")],
    stream: Annotated[bool, typer.Option("--stream", help="Show the answer while it is written.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Longest wait, in seconds.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Ask the model a question.

    It is answered by an inference worker, as agents are; nothing is traded.

    Example: alina ask "What is slippage?" --stream
    """
    from alina import bootstrap, queues
    from alina.errors import ConfigError, SystemStateError
    from alina.llm.streaming import AnswerReader
    from alina.orchestrator.asking import checked

    if stream and as_json:
        raise ConfigError("--stream shows text as it comes, --json one value at the end: choose one of them")
    checked(question)
    settings = settings_of(context)
    if settings.database_url is None and not settings.data_folder.exists():
        raise SystemStateError("nothing runs here: start the system with `alina up`")
    urls = bootstrap.connections(settings)
    app = queues.make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)
    pending = queues.ask(app, question)
    if stream:
        show(AnswerReader(urls.redis_url).read(pending.stream_id, timeout=timeout))
        return
    answer = pending.get(timeout)
    if as_json:
        print_json(answer)
    else:
        say(answer.text)
        _show_usage(answer)


def show(events: "Iterator[StreamEvent]") -> None:
    """Pieces as they come; an answer that begins anew, or lost a piece on its way, begins on a new line."""
    from alina.errors import ModelError
    from alina.llm.streaming import StreamKind

    told = ""
    for event in events:
        if event.kind is StreamKind.ERROR:
            if told:
                say("")
            raise ModelError(event.text)
        if event.answer is not None:
            if told != event.answer.text:
                _begin_anew(told)
                sys.stdout.write(printable(event.answer.text))
            say("")
            _show_usage(event.answer)
        elif event.kind is StreamKind.TEXT:
            told += event.text
            sys.stdout.write(printable(event.text))
            sys.stdout.flush()
        else:
            _begin_anew(told)
            told = ""


def _begin_anew(told: str) -> None:
    if told:
        say("\n(the answer begins anew)")


def _show_usage(answer: "Answer") -> None:
    say(
        f"({answer.model}: {answer.completion_tokens} tokens after {answer.prompt_tokens}, "
        f"{answer.elapsed_ms / 1000:.1f} s)"
    )

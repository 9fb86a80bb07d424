"""How an answer is shown while it is written."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alina.cli import asking
from alina.domain.runs import Answer
from alina.errors import ConfigError, ModelError
from alina.llm.streaming import StreamEvent, StreamKind

ANSWER = Answer(
    text="It is more.",
    model="small.gguf",
    prompt_tokens=20,
    completion_tokens=4,
    elapsed_ms=1500,
    finish_reason="stop",
)


def event(kind: StreamKind, text: str = "", answer: Answer | None = None) -> StreamEvent:
    return StreamEvent(id="1-0", kind=kind, text=text, answer=answer)


BEGIN, END = event(StreamKind.BEGIN, "1"), event(StreamKind.END, answer=ANSWER)


def pieces(*texts: str) -> Iterator[StreamEvent]:
    return (event(StreamKind.TEXT, text) for text in texts)


Shown = Callable[..., str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    def show(*events: StreamEvent) -> str:
        asking.show(iter(events))
        return capsys.readouterr().out

    return show


def test_pieces_stand_beside_each_other_and_usage_below(shown: Shown) -> None:
    out = shown(BEGIN, *pieces("It is", " more."), END)
    assert out == "It is more.\n(small.gguf: 4 tokens after 20, 1.5 s)\n"


def test_an_answer_that_begins_anew_begins_on_a_line_of_its_own(shown: Shown) -> None:
    out = shown(BEGIN, *pieces("It w"), BEGIN, *pieces("It is more."), END)
    assert out.splitlines()[:3] == ["It w", "(the answer begins anew)", "It is more."]


def test_an_answer_that_lost_a_piece_on_its_way_is_shown_whole(shown: Shown) -> None:
    out = shown(BEGIN, *pieces("It is"), END)
    assert out.splitlines()[:3] == ["It is", "(the answer begins anew)", "It is more."]
    assert shown(BEGIN, END).startswith("It is more.\n(")


def test_a_failure_is_the_error_of_the_command(shown: Shown) -> None:
    with pytest.raises(ModelError, match="no answer within 60 s"):
        shown(BEGIN, *pieces("It"), event(StreamKind.ERROR, "no answer within 60 s"))


def test_what_a_model_says_moves_no_cursor(shown: Shown) -> None:
    assert shown(BEGIN, *pieces("\x1b[2J", "a\nb\r\x07"), END).startswith("\\u001b[2Ja\nb\\u000d\\u0007\n")


@pytest.mark.parametrize(
    ("question", "stream", "as_json", "words"),
    [
        ("  ", False, False, "there is no question"),
        ("x" * 5000, False, False, "shorten"),
        ("caf\udce9", False, False, "UTF-8"),
        ("x", True, True, "choose"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_before_anything_is_looked_for(
    question: str, stream: bool, as_json: bool, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        asking.ask(None, question, stream=stream, as_json=as_json)  # type: ignore[arg-type]

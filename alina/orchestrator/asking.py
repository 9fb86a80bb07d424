"""A question of a person to the model, answered in plain words. Nothing is traded, nothing is stored."""

from decimal import Decimal
from uuid import UUID

from alina.domain.runs import Answer, CompletionRequest, Message
from alina.errors import ConfigError
from alina.llm.budget import on_behalf_of
from alina.orchestrator.runtime import Runtime

SYSTEM_PROMPT = "You answer questions about trading on the crypto spot market, briefly and in plain words."
#: characters
QUESTION_LIMIT = 4000


def ask(runtime: Runtime, question: str, *, answer_id: UUID) -> Answer:
    """The model's answer, told on the stream `answer_id` while it is written; not so a failure.

    The same question to the same model has the same answer. Raises ModelError, or ConfigError for a question
    that is empty or too long.
    """
    models = runtime.settings.models
    stream = runtime.stream(answer_id)
    request = CompletionRequest(
        messages=(Message("system", SYSTEM_PROMPT), Message("user", checked(question))),
        json_schema=None,
        max_tokens=models.max_tokens,
        temperature=models.temperature,
        seed=0,
        deadline_seconds=Decimal(str(models.deadline.total_seconds())),
    )
    stream.begin(1)
    with on_behalf_of("person"):
        completion = runtime.model().complete(request, stream.text)
    stream.end(completion)
    return Answer.of(completion)


def checked(question: str) -> str:
    """The question. Raises ConfigError where there is none, no text, or more than a prompt should hold."""
    if not question.strip():
        raise ConfigError('there is no question: write it in quotes, e.g. alina ask "What is slippage?"')
    if question != question.encode(errors="replace").decode():
        raise ConfigError("the question is no UTF-8 text: write it again, or set the terminal to UTF-8")
    if len(question) > QUESTION_LIMIT:
        raise ConfigError(f"the question has {len(question)} characters: shorten it to {QUESTION_LIMIT}")
    return question

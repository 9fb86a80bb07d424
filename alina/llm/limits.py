"""What every model refuses before it thinks."""

from alina.domain.runs import CompletionRequest
from alina.errors import ModelError


def check_fits(prompt_tokens: int, request: CompletionRequest, context_length: int) -> None:
    """Raise ModelError unless the prompt and the longest answer fit the context, all in tokens."""
    if prompt_tokens + request.max_tokens > context_length:
        raise ModelError(
            f"a prompt of {prompt_tokens} tokens and an answer of up to {request.max_tokens} do not fit "
            f"a context of {context_length}: shorten the prompt or raise models.context_length"
        )

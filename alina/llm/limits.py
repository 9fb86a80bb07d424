"""What every model refuses before it thinks, and how tokens are counted where nobody tells."""

import json
from collections.abc import Sequence

from alina.domain.runs import CompletionRequest, Message
from alina.errors import ModelError

#: characters counted as one token, as English text has it
TOKEN_CHARACTERS = 4
#: tokens around the text of a message, and around a request, at most
_MESSAGE_TOKENS, _REQUEST_TOKENS = 16, 64


def check_fits(prompt_tokens: int, request: CompletionRequest, context_length: int) -> None:
    """Raise ModelError unless the prompt and the longest answer fit the context, all in tokens."""
    if prompt_tokens + request.max_tokens > context_length:
        raise ModelError(
            f"a prompt of {prompt_tokens} tokens and an answer of up to {request.max_tokens} do not fit "
            f"a context of {context_length}: shorten the prompt or raise models.context_length",
            is_unanswered=True,
        )


def estimated_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens these are."""
    return sum(-(-len(message.content) // TOKEN_CHARACTERS) for message in messages)


def token_bound(request: CompletionRequest) -> int:
    """More tokens than any tokenizer makes of the prompt: none takes less than a byte for one."""
    texts = [message.content for message in request.messages]
    if request.json_schema is not None:
        texts.append(json.dumps(request.json_schema))
    return sum(len(text.encode()) + _MESSAGE_TOKENS for text in texts) + _REQUEST_TOKENS

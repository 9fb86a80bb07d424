"""llama.cpp's C functions behind one object: a mapped file and its one context.

Nothing else of the package touches a pointer, but for `vocabulary` and `sampling`. llama-cpp-python's own
class `Llama` is passed by: it can neither leave weights and words shared, nor free its buffers early.
"""

import ctypes
import re
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp._ggml import libggml

from alina.errors import ModelError, ModelUnavailable
from alina.llm.vocabulary import Vocabulary

#: tokens evaluated between two looks at the clock; larger batches are no faster on a CPU
BATCH = 64
_ERROR_LEVEL = 4  # ggml_log_level
_SEQUENCE = 0
_complaints: deque[str] = deque(maxlen=2)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_errors(level: int, text: bytes, user_data: Any) -> None:
    """Stands in for llama.cpp's own printing: its errors explain a failed load."""
    if level == _ERROR_LEVEL:
        _complaints.append(text.decode(errors="replace").strip())


def build() -> str:
    """The version of llama-cpp-python, of the ggml in it, and what of this processor that one uses.

    Texts are the same bit for bit only where all of it is.
    """
    parts = []
    for function in (libggml.ggml_version, libggml.ggml_commit):
        function.restype = ctypes.c_char_p
        parts.append(function().decode())
    features = re.findall(r"(\w+) = 1\b", llama_cpp.llama_print_system_info().decode())
    return f"{llama_cpp.__version__}, ggml {'-'.join(parts)}, {' '.join(features)}"


class NativeModel:
    """One model file, mapped, with one context of one sequence. Not safe to use from two threads at once."""

    def __init__(
        self, path: Path, *, context_length: int, threads: int, vocabulary: Vocabulary | None = None
    ) -> None:
        """`vocabulary`: of this file, if it is in memory already: only the weights are opened then.

        Raises ModelUnavailable with llama.cpp's own reason.
        """
        self.model = _opened(path, _model_options(vocabulary))
        self.context = None
        if self.model:
            options = _context_options(context_length, threads)
            self.context = llama_cpp.llama_init_from_model(self.model, options)
        self._release = weakref.finalize(self, _free, self.model, self.context)
        if not self.context:
            self.close()
            raise _not_loaded(path)
        self.words = Vocabulary(self.model) if vocabulary is None else vocabulary
        _trim()
        self._memory = llama_cpp.llama_get_memory(self.context)

    def close(self) -> None:
        """Give the memory back. Safe to repeat; nothing else may be called afterwards."""
        self._release()

    # the context

    def evaluate(self, tokens: Sequence[int]) -> None:
        """Append at most BATCH tokens to the context. Raises ModelError."""
        batch = (llama_cpp.llama_token * len(tokens))(*tokens)
        fault = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(batch, len(tokens)))
        if fault:
            raise ModelError(f"llama.cpp could not evaluate {len(tokens)} tokens (llama_decode: {fault})")

    def keep(self, count: int) -> int:
        """Forget all but the first `count` tokens; all of them where the engine keeps only wholes.

        Returns how many are left.
        """
        if llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, count, -1):
            return count
        llama_cpp.llama_memory_clear(self._memory, True)
        return 0

    def state(self) -> bytes:
        """What the context holds, for `restore` on the same file, build and layout."""
        size = llama_cpp.llama_state_seq_get_size(self.context, _SEQUENCE)
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self.context, buffer, size, _SEQUENCE)
        return bytes(memoryview(buffer)[:written])

    def restore(self, state: bytes) -> bool:
        """Hold exactly what `state` held. False, and what is held has changed, if it does not fit."""
        llama_cpp.llama_memory_clear(self._memory, False)
        data = ctypes.cast(ctypes.c_char_p(state), ctypes.POINTER(ctypes.c_uint8))
        if llama_cpp.llama_state_seq_set_data(self.context, data, len(state), _SEQUENCE) == len(state):
            return True
        llama_cpp.llama_memory_clear(self._memory, True)
        return False


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary of a file without its weights, for as long as this process and its children live.

    Starts no thread: it may be called before a fork. Raises ModelUnavailable with llama.cpp's own reason.
    """
    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    options.vocab_only = True
    model = _opened(path, options)
    if not model:
        raise _not_loaded(path)
    words = Vocabulary(model)
    words.prepare()
    _trim()
    return words


def _opened(path: Path, options: Any) -> Any:
    """llama.cpp's model; None where `_complaints` says why."""
    llama_cpp.llama_log_set(_keep_errors, None)
    llama_cpp.llama_backend_init()
    _complaints.clear()
    return llama_cpp.llama_model_load_from_file(str(path).encode(), options)


def _not_loaded(path: Path) -> ModelUnavailable:
    return ModelUnavailable(
        f"model {path} does not load with llama-cpp-python {llama_cpp.__version__}: "
        f"{'; '.join(_complaints) or 'no reason given'}. "
        "Free some memory, lower models.context_length, or name another file"
    )


def _model_options(vocabulary: Vocabulary | None = None) -> Any:
    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    options.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP
    # Repacked weights are a private copy in each process: docs/models.md has what this costs.
    options.use_extra_bufts = False
    if vocabulary is not None:
        options.kv_overrides = _without_words(vocabulary)
    return options


def _without_words(vocabulary: Vocabulary) -> Any:
    """Metadata of a model that has so many tokens and no texts for them, in place of the file's own."""
    family = vocabulary.metadata("general.architecture")
    overrides = (llama_cpp.llama_model_kv_override * 3)()  # the last one stays empty: it ends the list
    tokeniser: Any = overrides[0]
    tokeniser.tag, tokeniser.key = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, b"tokenizer.ggml.model"
    tokeniser.value.val_str = b"none"
    size: Any = overrides[1]
    size.tag, size.key = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, f"{family}.vocab_size".encode()
    size.value.val_i64 = len(vocabulary)
    return overrides


def _context_options(context_length: int, threads: int) -> Any:
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = context_length
    options.n_batch = options.n_ubatch = min(BATCH, context_length)
    options.n_threads = options.n_threads_batch = threads
    options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.no_perf = True
    return options


def _free(model: Any, context: Any) -> None:
    if context:
        llama_cpp.llama_free(context)
    if model:
        llama_cpp.llama_model_free(model)
    _trim()


def _trim() -> None:
    """Give back what glibc would keep for itself: a vocabulary is read and kept in many small pieces."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

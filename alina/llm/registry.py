"""From a model's source to an open model: where the file is, whether it is whole, and its hash.

A source is `package:MODULE/FILE` (a file inside an installed package), a path to a GGUF file,
or `scripted:FILE.jsonl` (recorded answers, for tests and drills).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from alina.domain.models import ModelFacts
from alina.domain.ports import Model
from alina.domain.runs import ModelIdentity
from alina.errors import ConfigError, ModelUnavailable
from alina.llm.gguf_file import GgufFacts, check_gguf
from alina.llm.prefix_store import NO_PREFIXES, PrefixStore
from alina.llm.scripted import ScriptedModel, parse_script

if TYPE_CHECKING:
    from alina.llm.vocabulary import Vocabulary

_PACKAGE, _SCRIPTED, _PROVIDER = "package:", "scripted:", "provider:"
#: SHA-256 of a file -> the vocabulary of its model
Vocabularies = Mapping[str, "Vocabulary"]
NO_VOCABULARIES: Vocabularies = {}


def open_model(
    source: str,
    *,
    context_length: int,
    threads: int,
    sha256: str | None = None,
    prefixes: PrefixStore = NO_PREFIXES,
    vocabularies: Vocabularies = NO_VOCABULARIES,
) -> Model:
    """The model named by `source`, checked and loaded. Raises ModelUnavailable or ConfigError.

    `sha256` is that of the registered file: another one under its name is refused.
    Call it in the process that will use it: a model opened before a fork hangs the children. Only what is in
    `vocabularies` may be read before.
    """
    path = model_path(source)
    _check_unchanged(path, sha256)
    if source.startswith(_SCRIPTED):
        return ScriptedModel(path.name, _script(path), context_length=context_length, threads=threads)
    _check_context(path, context_length)
    # Imported here: llama.cpp's library is loaded only by the processes that think.
    from alina.llm.llama_cpp import LlamaCppModel

    return LlamaCppModel(
        path,
        sha256=file_sha256(path),
        context_length=context_length,
        threads=threads,
        prefixes=prefixes,
        vocabulary=vocabularies.get(file_sha256(path)),
    )


def read_vocabularies(source: str) -> Vocabularies:
    """That of a GGUF file, to be read before a fork for all children. Raises ModelUnavailable."""
    path = model_path(source)
    if source.startswith(_SCRIPTED):
        return NO_VOCABULARIES
    _header(path)
    sha256 = file_sha256(path)
    from alina.llm.native import read_vocabulary

    import_module("alina.llm.llama_cpp")  # the code that opens models is shared as well
    return {sha256: read_vocabulary(path)}


def identity_of(
    source: str, *, context_length: int, threads: int, sha256: str | None = None
) -> ModelIdentity:
    """What `open_model` would open, without opening it. Raises as it does."""
    path = model_path(source)
    _check_unchanged(path, sha256)
    if source.startswith(_SCRIPTED):
        script = _script(path)
        return ScriptedModel(path.name, script, context_length=context_length, threads=threads).identity
    _check_context(path, context_length)
    from alina.llm.llama_cpp import identity

    return identity(path, sha256=file_sha256(path), context_length=context_length, threads=threads)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory that a model takes."""

    #: mapped, and shared by all processes that open the file
    weights: int
    #: of the keys and values of a full context, in each process
    context: int


def memory_needed(source: str, context_length: int) -> Need:
    """What a model takes, from its header. Raises ModelUnavailable."""
    if source.startswith(_SCRIPTED):
        return Need(weights=0, context=0)
    facts = _header(model_path(source))
    return Need(weights=facts.size_bytes, context=facts.cache_bytes_a_token * context_length)


def check_model(source: str) -> str:
    """One line about the model, without loading it. Raises ModelUnavailable."""
    path = model_path(source)
    if source.startswith(_SCRIPTED):
        return f"{path.name}: {len(parse_script(path.name, _script(path)))} scripted answers"
    _header(path)
    return f"{path.name}: GGUF, {path.stat().st_size / 1e6:.0f} MB, sha256 {file_sha256(path)[:12]}"


def read_facts(source: str) -> ModelFacts:
    """What the registry keeps of a model, read without loading it. A path becomes absolute.

    Raises ModelUnavailable for a file that is missing, foreign, cut short, or no model to talk to.
    """
    if source.startswith(_PROVIDER):
        return ModelFacts(source=source)
    path = model_path(source)
    size, sha256 = path.stat().st_size, file_sha256(path)
    if source.startswith(_SCRIPTED):
        parse_script(path.name, _script(path))
        return ModelFacts(source=f"{_SCRIPTED}{path}", sha256=sha256, size_bytes=size)
    facts = _header(path)
    if facts.template is None:
        raise ModelUnavailable(f"model {path} has no chat template: use an instruction-tuned GGUF file")
    return ModelFacts(
        source=source if source.startswith(_PACKAGE) else str(path),
        sha256=sha256,
        size_bytes=size,
        quantisation=facts.quantisation,
        template=facts.template,
        context_length=facts.context_length,
        licence=facts.licence,
    )


def _check_unchanged(path: Path, sha256: str | None) -> None:
    if sha256 is not None and file_sha256(path) != sha256:
        raise ModelUnavailable(
            f"model file {path} has changed since it was registered: register it again with "
            "`alina models add`, or put the former file back"
        )


def _check_context(path: Path, context_length: int) -> None:
    trained = _header(path).context_length
    if trained is not None and context_length > trained:
        raise ConfigError(
            f"models.context_length {context_length} is more than {path.name} was trained for: "
            f"set it to {trained} or less"
        )


def model_path(source: str) -> Path:
    """The file that `source` names. Raises ModelUnavailable if there is none."""
    if source.startswith(_PACKAGE):
        path = _inside_package(source.removeprefix(_PACKAGE))
    else:
        path = Path(source.removeprefix(_SCRIPTED)).expanduser()
    if not path.is_file():
        raise ModelUnavailable(f"model {source!r} names no file: correct it, in models.default or here")
    return path.resolve()


def _script(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(
            f"script {path} cannot be read ({error.strerror}): correct its rights"
        ) from error


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read again only when the file has changed."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns, status.st_ino)


def _header(path: Path) -> GgufFacts:
    """The checked header of a GGUF file, read again only when the file has changed."""
    try:
        status = path.stat()
    except OSError:
        return check_gguf(path)  # which says why
    return _checked(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=8)
def _checked(path: Path, size: int, mtime_ns: int, inode: int) -> GgufFacts:
    return check_gguf(path)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside_package(name: str) -> Path:
    """The file MODULE/FILE, found without importing the package's code."""
    module, _, file = name.partition("/")
    # Only a top-level name: finding a dotted one would import its parent.
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations or not file or ".." in Path(file).parts:
        raise ModelUnavailable(
            f"model 'package:{name}' names no installed package: write package:MODULE/FILE, "
            f"and install {module or 'the package'} if it is missing"
        )
    return Path(spec.submodule_search_locations[0]) / file

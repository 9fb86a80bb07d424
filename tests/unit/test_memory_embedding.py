import logging
import math

from alina.memory.embedding import WordLlamaEmbedder


def test_texts_become_unit_vectors_whatever_they_are_embedded_with() -> None:
    embedder = WordLlamaEmbedder()
    alone = embedder.embed(["BTC rose 2%"])
    together = embedder.embed(
        ["BTC rose 2%", "a much longer text about something else entirely", "涨 🚀 \u200b"]
    )
    assert together[0] == alone[0]
    for vector in together:
        assert len(vector) == embedder.dimensions
        assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-5)


def test_a_text_without_words_is_all_zeros_and_no_text_is_no_vector() -> None:
    embedder = WordLlamaEmbedder()
    assert set(embedder.embed([""])[0]) == {0.0}
    assert embedder.embed([]) == []


def test_loading_leaves_the_logging_as_it_was() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    WordLlamaEmbedder().embed(["a"])
    assert (root.handlers, root.level) == before

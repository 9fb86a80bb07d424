"""A text told in pieces is the text, wherever its characters are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from alina.llm.llama_cpp import written


@given(st.binary(max_size=40) | st.text(max_size=12).map(str.encode), st.lists(st.integers(0, 40)))
def test_a_text_told_in_pieces_is_the_text_decoded_at_once(whole: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut <= len(whole))})
    parts = [whole[start:end] for start, end in pairwise(edges)]
    told: list[str] = []
    text, number = written(iter(parts), told.append)
    assert text == "".join(told) == whole.decode(errors="replace")
    assert number == len(parts)

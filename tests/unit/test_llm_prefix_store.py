"""The store of prefixes without a folder: what is kept, for how long, and under which name."""

from alina.llm.prefix_store import NO_PREFIXES, PrefixStore


def store(ram_bytes: int) -> PrefixStore:
    return PrefixStore(None, ram_bytes=ram_bytes, disk_bytes=0)


def test_a_state_is_found_by_its_tokens_and_its_layout_only() -> None:
    states = store(100)
    prefixes = states.of("a model, 512 tokens")
    prefixes.put([1, 2, 3], b"held")
    assert prefixes.get([1, 2, 3]) == b"held"
    assert states.of("a model, 512 tokens").get([1, 2, 3]) == b"held"
    assert states.of("a model, 1024 tokens").get([1, 2, 3]) is None
    assert [prefixes.get(tokens) for tokens in ([1, 2], [1, 2, 4], [123], [])] == [None] * 4


def test_reading_a_state_does_not_take_it_away() -> None:
    prefixes = store(100).of("")
    prefixes.put([1], b"held")
    assert [prefixes.get([1]), prefixes.get([1])] == [b"held", b"held"]


def test_the_state_used_longest_ago_makes_room() -> None:
    prefixes = store(100).of("")
    for token in (1, 2):
        prefixes.put([token], bytes(40))
    prefixes.get([1])
    prefixes.put([3], bytes(40))
    assert [prefixes.get([token]) is not None for token in (1, 2, 3)] == [True, False, True]


def test_a_state_larger_than_the_bound_is_not_kept() -> None:
    prefixes = store(100).of("")
    prefixes.put([1], bytes(60))
    prefixes.put([2], bytes(101))
    assert prefixes.get([2]) is None


def test_a_dropped_state_is_lacking_again() -> None:
    prefixes = store(100).of("")
    assert prefixes.lacks([1])
    prefixes.put([1], b"held")
    assert not prefixes.lacks([1])
    prefixes.drop([1])
    assert prefixes.lacks([1])


def test_a_store_that_keeps_nothing_lacks_nothing() -> None:
    prefixes = NO_PREFIXES.of("")
    prefixes.put([1], b"held")
    assert prefixes.get([1]) is None
    assert not prefixes.lacks([1])

"""Short ids, as people read them from a table."""

from uuid import UUID

import pytest

from alina.errors import LedgerError
from alina.ledger.lookup import id_range

ID = UUID("3f9a1c00-1234-5678-9abc-def012345678")


@pytest.mark.parametrize("name", [str(ID), ID.hex, str(ID).upper(), "3f9a1c", "3f9a1c00-12"])
def test_an_id_lies_within_the_range_of_its_beginning(name: str) -> None:
    first, last = id_range(name)
    assert first <= ID <= last
    assert not first <= UUID(int=ID.int + (1 << 104)) <= last


@pytest.mark.parametrize("name", ["", "3f9a1", "3f9a1x", "%f9a1c", str(ID) + "0"])
def test_what_begins_no_id_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(LedgerError, match="at least 6 of its digits"):
        id_range(name)

"""Requests are refused in Binance's words; faults are used up as they were set."""

import re
from decimal import Decimal

import pytest

from alina.venue.faults import FaultKind, FaultScript
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.signing import Signing, signature

#: the example of Binance's documentation, "SIGNED Endpoint Examples for POST /api/v3/order"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SENT_AT = 1499827319559
QUERY = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
BODY = f"quantity=1&price=0.1&recvWindow=5000&timestamp={SENT_AT}"
HEADERS = {"X-MBX-APIKEY": "the-key"}


def params(*texts: str) -> Params:
    return Params(dict(pair.split("=", 1) for text in texts for pair in text.split("&") if pair))


def check(query: str, body: str, *, wall: int = SENT_AT, headers: dict[str, str] = HEADERS) -> None:
    Signing("the-key", SECRET).check(headers, query, body, params(query, body), wall)


def test_a_signature_is_that_of_binance_s_documentation() -> None:
    assert (
        signature(SECRET, f"{QUERY}&{BODY}")
        == "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    )


@pytest.mark.parametrize(("query", "body"), [(f"{QUERY}&{BODY}", ""), ("", f"{QUERY}&{BODY}"), (QUERY, BODY)])
def test_query_and_body_are_signed_as_they_were_sent(query: str, body: str) -> None:
    signed = f"&signature={signature(SECRET, query + body)}"
    sent = (query, body + signed) if body else (query + signed, body)
    check(*sent)
    with pytest.raises(Refusal, match="Signature") as refused:
        check(*(text.replace("quantity=1", "quantity=2") for text in sent))
    assert refused.value.code == -1022


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, -2014), ({"X-MBX-APIKEY": "another"}, -2015), ({"X-MBX-APIKEY": "ключ"}, -2015)],
)
def test_a_request_without_the_right_key_is_refused(headers: dict[str, str], code: int) -> None:
    with pytest.raises(Refusal) as refused:
        check(QUERY, f"{BODY}&signature=00", headers=headers)
    assert (refused.value.code, refused.value.status) == (code, 401)


@pytest.mark.parametrize("late_ms", [5001, -1001])
def test_a_request_outside_its_receive_window_is_refused(late_ms: int) -> None:
    signed = f"{BODY}&signature={signature(SECRET, QUERY + BODY)}"
    check(QUERY, signed, wall=SENT_AT + late_ms // 2)
    with pytest.raises(Refusal, match="Timestamp for this request") as refused:
        check(QUERY, signed, wall=SENT_AT + late_ms)
    assert refused.value.code == -1021


@pytest.mark.parametrize("text", ["1e5", "-1", "+1", "1.", ".5", "1,5", "NaN", "٣", "1" * 21])
def test_an_amount_is_plain_digits(text: str) -> None:
    with pytest.raises(Refusal, match="Illegal characters found in parameter 'quantity'"):
        params(f"quantity={text}").amount("quantity")
    assert params("quantity=0.10").amount("quantity") == Decimal("0.10")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(Refusal, match=re.escape("'symbol' was not sent")):
        params("symbol=").text("symbol")


def test_faults_are_met_in_order_and_only_by_their_method_and_path() -> None:
    script = FaultScript()
    script.add({"kind": "delay", "method": "GET", "path": "/a", "delay_seconds": "0.5"})
    script.add({"kind": "error_before", "method": "GET", "path": "/a", "count": 2})
    assert script.take("POST", "/a") is None
    assert script.take("GET", "/b") is None
    met = [script.take("GET", "/a") for _ in range(4)]
    assert [fault and fault.kind for fault in met] == [
        FaultKind.DELAY,
        FaultKind.ERROR_BEFORE,
        FaultKind.ERROR_BEFORE,
        None,
    ]

"""Requests are refused in Binance's words; faults are used up as they were set."""

import re
from decimal import Decimal
from typing import Any

import pytest

from alina.venue.faults import Fault, FaultKind, FaultScript
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


def test_a_parameter_that_is_not_known_is_refused_and_not_passed_over() -> None:
    params = Params({"symbol": "BTCUSDT", "side": "BUY", "stopLos": "1"})
    params.only(("symbol", "side", "stopLos", "more"))
    with pytest.raises(Refusal, match=r"read '2' parameter\(s\) but was sent '3'") as refused:
        params.only(("symbol", "side"))
    assert refused.value.code == -1104


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(Refusal, match=re.escape("'symbol' was not sent")):
        params("symbol=").text("symbol")


def fault(kind: str, **more: Any) -> Fault:
    return Fault.from_json({"kind": kind, "method": "GET", "path": "/api/a", **more})


def script(*faults: Fault) -> FaultScript:
    script = FaultScript()
    for one in faults:
        script.add(one)
    return script


def test_faults_are_met_in_order_and_only_by_their_method_and_path() -> None:
    faults = script(fault("delay", seconds="0.5"), fault("error_before", count=2))
    assert faults.take("POST", "/api/a") is None
    assert faults.take("GET", "/api/b") is None
    met = [faults.take("GET", "/api/a") for _ in range(4)]
    assert [one and one.kind for one in met] == [
        FaultKind.DELAY,
        FaultKind.ERROR_BEFORE,
        FaultKind.ERROR_BEFORE,
        None,
    ]


def test_a_fault_of_everything_spares_the_venue_s_own_doors() -> None:
    faults = script(fault("error_before", method="*", path="*"))
    assert faults.take("POST", "/venue/v1/faults") is None
    assert faults.take("DELETE", "/api/v3/order") is not None


def test_a_fault_of_some_probability_meets_the_same_requests_again() -> None:
    def draws(seed: int) -> list[bool]:
        faults = script(fault("banned", count=1000, probability="0.3", seed=seed))
        return [faults.take("GET", "/api/a") is not None for _ in range(200)]

    assert 30 < sum(draws(1)) < 90
    assert draws(1) == draws(1) != draws(2)


def test_a_request_that_escapes_one_fault_may_meet_the_next() -> None:
    faults = script(fault("delay", probability="0.000001"), fault("banned"))
    assert faults.take("GET", "/api/a") == fault("banned")


def test_faults_are_reported_by_what_was_met_and_what_is_left() -> None:
    faults = script(fault("delay", count=3), fault("banned", count=2))
    faults.take("GET", "/api/a")
    assert faults.report() == {"met": {"delay": 1}, "left": {"delay": 2, "banned": 2}}
    faults.clear()
    assert faults.report() == {"met": {"delay": 1}, "left": {}}


def test_the_former_names_of_a_fault_are_still_understood() -> None:
    assert fault("accept_then_drop").kind is FaultKind.ACCEPT_THEN_FIN
    assert fault("delay", delay_seconds="0.5").seconds == Decimal("0.5")


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "unheard of"},
        {"kind": "delay", "secnods": 1},
        {"kind": "delay", "count": 0},
        {"kind": "delay", "probability": "1.1"},
        {"kind": "delayed_visibility"},
        {"method": "GET"},
        [],
    ],
)
def test_a_fault_that_is_none_is_refused(values: Any) -> None:
    with pytest.raises(Refusal, match="no fault"):
        Fault.from_json(values)

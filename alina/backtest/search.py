"""Parameters searched on one stretch of history and judged on the next, so that over-fitting shows.

Walk forward: each fold fits on one window and tests what was found on the window after it, which the search
never saw. A last fit uses everything; its Sharpe ratio is deflated by the number of trials it was chosen
from. Both must speak for the parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ValidationError

from alina.backtest.equity import Series
from alina.backtest.metrics import sharpe_a_bar
from alina.backtest.statistics import CONFIDENCE, deflated_sharpe, probabilistic_sharpe, reach_of_luck
from alina.config import Settings
from alina.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

#: a fold fits on so many times the length that it tests
_FIT_TO_TEST = 3
_VALUES_MAX = 10_000
_SEED = 7

Parameters = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting by its place in config.yaml, e.g. trading.stop_loss, and its values in their order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of market time [start_ms, end_ms), milliseconds since the epoch."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Fold:
    fit: Window
    test: Window


#: the returns a bar, shape (bars,), of a strategy with these parameters in this window; it begins flat.
#: Raises ConfigError for values that contradict one another: those are no trial.
Objective = Callable[[Parameters, Window], Series]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """The best of the trials in one window. Sharpe ratios are a bar, not annualised."""

    window: Window
    parameters: Parameters
    returns: Series
    #: of every distinct trial
    trials: tuple[float, ...]

    @property
    def sharpe(self) -> float:
        return max(self.trials)

    @property
    def deflated(self) -> float | None:
        """The probability that the true Sharpe ratio is above 0, knowing how many were tried."""
        return deflated_sharpe(self.returns, self.trials)

    @property
    def luck(self) -> float:
        """The Sharpe ratio that the best of so many trials without skill would show."""
        return reach_of_luck(self.trials, bars=len(self.returns))


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """A fit, and what its parameters made of the window after it."""

    fit: Fit
    window: Window
    returns: Series

    @property
    def sharpe(self) -> float:
        """A bar, not annualised; 0 where nothing moved."""
        return sharpe_a_bar(self.returns) or 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What was found, in the folds and on the whole."""

    folds: tuple[Forward, ...]
    whole: Fit

    @property
    def in_sample(self) -> float:
        """The mean Sharpe ratio of the folds where they were fitted, a bar."""
        return float(np.mean([fold.fit.sharpe for fold in self.folds]))

    @property
    def out_of_sample(self) -> float:
        """The Sharpe ratio of all tested windows in a row, a bar."""
        return sharpe_a_bar(self._tested) or 0.0

    @property
    def confidence(self) -> float | None:
        """The probability that the true Sharpe ratio out of sample is above 0."""
        return probabilistic_sharpe(self._tested)

    @property
    def holds(self) -> bool:
        """Whether both the unseen windows and the deflated whole speak for the parameters."""
        return (self.confidence or 0) > CONFIDENCE and (self.whole.deflated or 0) > CONFIDENCE

    @property
    def _tested(self) -> Series:
        return np.concatenate([fold.returns for fold in self.folds])


def parse(text: str) -> Parameter:
    """NAME=LOW:HIGH:STEP, both ends in, or NAME=A,B,C. Raises ConfigError."""
    name, _, values = text.partition("=")
    if not name or not values:
        raise ConfigError(
            f"{text}: write NAME=LOW:HIGH:STEP or NAME=A,B,C, as trading.stop_loss=0.01:0.05:0.01"
        )
    if ":" not in values:
        return Parameter(name, tuple(values.split(",")))
    try:
        low, high, step = (Decimal(part) for part in values.split(":"))
        count = int((high - low) / step) + 1
    except (ValueError, InvalidOperation, ZeroDivisionError):
        raise ConfigError(f"{text}: write LOW:HIGH:STEP in numbers, e.g. 0.01:0.05:0.005") from None
    if not 1 <= count <= _VALUES_MAX or step <= 0:
        raise ConfigError(f"{text}: LOW to HIGH in STEP must be 1 to {_VALUES_MAX} values")
    return Parameter(name, tuple(f"{low + number * step:f}" for number in range(count)))


def applied(settings: Settings, parameters: Parameters) -> Settings:
    """The settings with these values in place, all at once and validated. Raises ConfigError."""
    changes: dict[str, Any] = {}
    for name, value in parameters.items():
        *path, field = name.split(".")
        inner = changes
        for part in path:
            inner = inner.setdefault(part, {})
        inner[field] = value
    # copied, not built anew: that would read the environment again
    return settings.model_copy(update={name: _changed(settings, name, one) for name, one in changes.items()})


def _changed(section: BaseModel, name: str, change: Any) -> Any:
    """The value of a field after a change: text, or changes of the section that it is."""
    if not isinstance(change, dict):
        return change
    inner = getattr(section, name, None)
    if not isinstance(inner, BaseModel):
        raise ConfigError(f"{name} is no section of the settings: config.yaml shows them all")
    values = dict(inner) | {field: _changed(inner, field, one) for field, one in change.items()}
    try:
        return type(inner).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise ConfigError(f"{where}: {first['msg']}: choose other values") from None


def walk(start_ms: int, end_ms: int, count: int) -> tuple[Fold, ...]:
    """`count` folds whose tested windows follow one another to the end. Raises ConfigError for none."""
    step = (end_ms - start_ms) // (count + _FIT_TO_TEST)
    if count < 1 or step < 1:
        raise ConfigError("at least one fold, and time for it, is needed: widen --from and --to")
    starts = [end_ms - (count + _FIT_TO_TEST - number) * step for number in range(count)]
    middles = [start + _FIT_TO_TEST * step for start in starts]
    return tuple(
        Fold(Window(start, middle), Window(middle, middle + step))
        for start, middle in zip(starts, middles, strict=True)
    )


def search(
    objective: Objective,
    space: Sequence[Parameter],
    window: Window,
    *,
    folds: int = 4,
    trials: int = 40,
    progress: Callable[[], None] = lambda: None,
) -> Search:
    """Fit and test every fold, then fit the whole window; the same objective gives the same answer.

    `progress` is told of each trial, `trials` * (`folds` + 1) times. Raises ConfigError where no trial runs.
    """
    forwards = []
    for fold in walk(window.start_ms, window.end_ms, folds):
        fit = _fit(objective, space, fold.fit, trials, progress)
        forwards.append(Forward(fit, fold.test, objective(fit.parameters, fold.test)))
    return Search(tuple(forwards), _fit(objective, space, window, trials, progress))


def _fit(
    objective: Objective,
    space: Sequence[Parameter],
    window: Window,
    trials: int,
    progress: Callable[[], None],
) -> Fit:
    """The parameters of the highest Sharpe ratio in the window."""
    study = _study()
    ratios: dict[tuple[str, ...], float] = {}
    best: tuple[float, Parameters, Series] | None = None
    refusal = ConfigError("no trial was made: ask for at least one with --trials")
    for _ in range(trials):
        trial = study.ask()
        parameters = _suggested(trial, space)
        key = tuple(parameters.values())
        try:
            if key not in ratios:
                returns = objective(parameters, window)
                ratios[key] = sharpe_a_bar(returns) or 0.0
                if best is None or ratios[key] > best[0]:
                    best = (ratios[key], parameters, returns)
            study.tell(trial, ratios[key])
        except ConfigError as error:
            refusal = error
            _fail(study, trial)
        progress()
    if best is None:
        raise refusal
    return Fit(window=window, parameters=best[1], returns=best[2], trials=tuple(ratios.values()))


def _study() -> "Study":
    import optuna  # heavy: only who searches pays for it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=_SEED))


def _suggested(trial: "Trial", space: Sequence[Parameter]) -> Parameters:
    """By its place in the order of values, so that neighbours are known to be near."""
    return {one.name: one.values[trial.suggest_int(one.name, 0, len(one.values) - 1)] for one in space}


def _fail(study: "Study", trial: "Trial") -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)

"""Every error ALINA raises on purpose, and what to do about each.

AlinaError
├── InvalidRecord              a value that must not exist: a float as money, a naive time
├── ConfigError                fix config.yaml or the environment, then start again
├── DataError                  fix the named row of the data file
├── SystemStateError           a second `alina up`, nothing running, a stale folder: do what the message says
├── TransientError             worth repeating: a task backs off and runs again, at most twice
│   ├── DatabaseUnavailable
│   ├── BrokerUnavailable
│   ├── ExchangeUnavailable    includes rate limits (`retry_after`)
│   └── ModelBusy
│       └── ProviderUnavailable  includes rate limits (`retry_after`)
├── ExchangeError              what the exchange said; final unless it is also transient
│   ├── ExchangeUnavailable    (also a TransientError)
│   ├── ExchangeRefused        wrong key, missing right, unknown symbol: fix it, do not repeat
│   ├── OrderRejected          final: the exchange refused this order
│   └── OrderFateUnknown       ask the exchange by client order id before anything else
├── ModelError
│   ├── ModelUnavailable       missing, truncated or foreign model file
│   ├── ModelBusy              (also a TransientError)
│   │   └── ProviderUnavailable   down, unreachable, rate limited, or gone in the middle of an answer
│   ├── ModelRefused           wrong key, unknown model, refused parameters: fix it, do not repeat
│   ├── ModelBudgetSpent       a limit of models.budget: no model is asked until the next UTC day, or run
│   └── InvalidAnswer          the model's answer does not fit its schema
├── LedgerError                a write the ledger refuses: an illegal move or a contradiction
└── MemoryStoreError           the knowledge store cannot answer
"""

from datetime import timedelta


class AlinaError(Exception):
    """The root. `str(error)` is one message that names the remedy; shown as is."""


class InvalidRecord(AlinaError, ValueError):
    """A record refused its own values."""


class ConfigError(AlinaError):
    """A setting is missing, misspelt, has no unit or contradicts another."""


class DataError(AlinaError):
    """A data file has a row that cannot be true."""


class SystemStateError(AlinaError):
    """The command does not fit what is running."""


class TransientError(AlinaError):
    """The same call may succeed later."""


class DatabaseUnavailable(TransientError):
    """Postgres does not answer."""


class BrokerUnavailable(TransientError):
    """Redis does not answer."""


class ExchangeError(AlinaError):
    """The exchange, or the way to it, failed."""


class ExchangeUnavailable(ExchangeError, TransientError):
    """Down, unreachable or rate limited. Never raised for a submitted order."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ExchangeRefused(ExchangeError):
    """The exchange refused a request for good: key, right, symbol or parameters."""


class OrderRejected(ExchangeError):
    """The exchange refused this order, in its own words. Final."""


class OrderFateUnknown(ExchangeError):
    """The order may or may not be on the exchange. Only the exchange can tell."""


class ModelError(AlinaError):
    """A model failed."""

    def __init__(self, message: str, *, is_unanswered: bool = False) -> None:
        super().__init__(message)
        #: whether certainly nothing was written, and so nothing is charged
        self.is_unanswered = is_unanswered


class ModelUnavailable(ModelError):
    """The model file is missing, truncated, foreign or does not load."""


class ModelBusy(ModelError, TransientError):
    """The deadline passed or memory is short; a later call may do."""


class ProviderUnavailable(ModelBusy):
    """A model elsewhere is down, unreachable or rate limited, or its answer broke off."""

    def __init__(
        self, message: str, *, retry_after: timedelta | None = None, is_unanswered: bool = False
    ) -> None:
        super().__init__(message, is_unanswered=is_unanswered)
        self.retry_after = retry_after


class ModelRefused(ModelError):
    """A model elsewhere refused a request for good: key, right, model name or parameters."""


class ModelBudgetSpent(ModelError):
    """The call was not made: it could cost more than `models.budget` leaves."""


class InvalidAnswer(ModelError):
    """The answer does not fit the schema, after the one repair."""


class LedgerError(AlinaError):
    """The ledger refused to store a contradiction."""


class MemoryStoreError(AlinaError):
    """The knowledge store refused or could not answer."""

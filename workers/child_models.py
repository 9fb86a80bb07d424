"""The models of one child of a worker: opened after the fork, beside the first task, within their memory."""

import threading
from functools import cached_property

import psutil
import structlog
from sqlalchemy.orm import Session, sessionmaker

from alina import bootstrap
from alina.config import Settings
from alina.errors import AlinaError
from alina.llm import opening
from alina.llm.choice import ChosenModel
from alina.llm.pool import ModelPool
from alina.llm.registry import NO_VOCABULARIES

log = structlog.get_logger(__name__)


class ChildModels:
    """Made before the fork, and empty until a child uses it, but for words, which all children only read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: of this process and all its children
        self.vocabularies = NO_VOCABULARIES

    def read_vocabularies(self) -> None:
        """Read before the fork what each child would else have a copy of."""
        sessions = self._make_sessions()
        try:
            self.vocabularies = opening.shared_vocabularies(self._settings, sessions)
        except AlinaError as error:  # each child reads them, or fails, with its model
            log.warning("the vocabulary of the model is not shared", error=str(error))
        finally:
            sessions.kw["bind"].dispose()  # no connection may be shared

    @cached_property
    def sessions(self) -> sessionmaker[Session]:
        """Of this child's one engine."""
        return self._make_sessions()

    @cached_property
    def pool(self) -> ModelPool:
        prefixes = opening.make_prefixes(self._settings)
        return opening.make_pool(self._settings, prefixes, self.vocabularies)

    @cached_property
    def chosen(self) -> ChosenModel:
        """What the tasks of this child ask."""
        redis_url = bootstrap.broker_url(self._settings)
        return opening.make_chosen_model(self._settings, self.sessions, self.pool, redis_url)

    def begin_task(self) -> None:
        """The task that begins now may be the first after another model was activated."""
        if "chosen" in self.__dict__:
            self.chosen.forget()

    def warm_up(self) -> None:
        """Open the model in a thread: the first task waits for it, but the start of the child does not."""
        parts = self.sessions, self.pool  # made here: two threads could make two
        threading.Thread(target=self._warm_up, args=parts, daemon=True).start()

    def own_kb(self) -> int:
        """Memory that this process shares with nobody and needs for no model, in KiB; at least 1.

        Celery's own measure is the largest resident size ever, in which shared weights count.
        """
        memory = psutil.Process().memory_info()
        models = self.pool.private_bytes if "pool" in self.__dict__ else 0
        return int(max(memory.rss - memory.shared - models, 1024)) // 1024

    def _make_sessions(self) -> sessionmaker[Session]:
        return bootstrap.make_sessions(bootstrap.connections(self._settings).database_url)

    def _warm_up(self, sessions: sessionmaker[Session], pool: ModelPool) -> None:
        try:
            opening.warm_up(self._settings, sessions, pool)
        except AlinaError as error:  # the task that asks will fail with it
            log.warning("the model is not warm", error=str(error))

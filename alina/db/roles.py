"""The database's roles: the owner makes tables, agents wish, the executor decides and trades, the monitor
only reads.

Migrations make the roles and say what each may do. They cannot log in until they are given a password, here.
"""

import psycopg2.extensions  # type: ignore[import-untyped]
from sqlalchemy import URL, Connection, NullPool, make_url
from sqlalchemy.exc import OperationalError

from alina.db.engine import make_engine, our_errors
from alina.errors import ConfigError

#: may store runs, proposals and what is learnt; for the workers that run agents
AGENT = "alina_agent"
#: may store decisions, reservations, orders, fills and positions
EXECUTOR = "alina_executor"
#: may read what the metrics count, and write nothing
MONITOR = "alina_monitor"
_OURS = (AGENT, EXECUTOR, MONITOR)


def let_log_in(owner_url: str, role_url: str) -> None:
    """Give the role of `role_url` its password there, unless it lets in already. Safe to repeat.

    Another login than our three, made by an administrator and granted one of them, is only tried.
    Raises ConfigError where the role cannot log in and may not be changed, DatabaseUnavailable.
    """
    role = make_url(role_url)
    if _lets_in(role_url):
        return
    if role.username not in _OURS or not role.password:
        raise ConfigError(
            f"the database refuses the login {role.username}: correct the password in its URL, "
            f"or name {', '.join(_OURS)} there, which `alina up` can set up"
        )
    engine = make_engine(owner_url, poolclass=NullPool)
    try:
        with our_errors(), engine.begin() as connection:
            _set_password(connection, role)
    except ConfigError as error:
        raise ConfigError(
            f"{role.username} cannot be given its password: let an administrator do it ({error})"
        ) from None
    finally:
        engine.dispose()


def _lets_in(url: str) -> bool:
    engine = make_engine(url, poolclass=NullPool)
    try:
        with engine.connect():
            return True
    except OperationalError as error:
        if _is_refusal(str(error.orig)):
            return False
        with our_errors():
            raise
    finally:
        engine.dispose()


def _is_refusal(message: str) -> bool:
    """libpq gives a failed login no SQLSTATE, only words."""
    return any(words in message for words in ("authentication failed", "is not permitted to log in"))


def _set_password(connection: Connection, role: URL) -> None:
    """As a verifier computed here: the password itself never reaches the server or its log."""
    driver = connection.connection.driver_connection
    verifier = psycopg2.extensions.encrypt_password(
        str(role.password), str(role.username), scope=driver, algorithm="scram-sha-256"
    )
    # base64, $ and : only, and one of our own names
    connection.exec_driver_sql(f"ALTER ROLE {role.username} LOGIN PASSWORD '{verifier}'")

"""Start a command with the secrets of its container in its environment, where ALINA reads them.

Only what is mounted under /run/secrets is there: a container without the exchange's keys cannot leak them.
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote

SECRETS = Path("/run/secrets")
DATABASE = "postgresql+psycopg2://%s:{quoted}@postgres:5432/alina"
#: file of the secret -> variable, and its value around the secret
VARIABLES = {
    "postgres_password": ("ALINA_DATABASE_URL", DATABASE % "alina"),
    "agent_password": ("ALINA_AGENT_DATABASE_URL", DATABASE % "alina_agent"),
    "executor_password": ("ALINA_EXECUTOR_DATABASE_URL", DATABASE % "alina_executor"),
    "monitor_password": ("ALINA_MONITOR_DATABASE_URL", DATABASE % "alina_monitor"),
    "redis_password": ("ALINA_REDIS_URL", "redis://:{quoted}@redis:6379/0"),
    "flower_password": ("FLOWER_BASIC_AUTH", "alina:{plain}"),
    "exchange_api_key": ("ALINA_EXCHANGE_API_KEY", "{plain}"),
    "exchange_secret": ("ALINA_EXCHANGE_SECRET", "{plain}"),
}


def environment(folder: Path) -> dict[str, str]:
    """The variables of the secrets that lie in the folder."""
    found = {}
    for file, (variable, value) in VARIABLES.items():
        if (folder / file).exists():
            secret = (folder / file).read_text(encoding="utf-8").strip()
            found[variable] = value.format(plain=secret, quoted=quote(secret, safe=""))
    for role in ("AGENT", "EXECUTOR", "MONITOR"):
        role_url = f"ALINA_{role}_DATABASE_URL"
        if role_url in found and "ALINA_DATABASE_URL" not in found:  # all but the owner know one role only
            found["ALINA_DATABASE_URL"] = found.pop(role_url)
    return found


if __name__ == "__main__":
    os.environ.update(environment(SECRETS))
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606

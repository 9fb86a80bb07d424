"""Writes config.yaml with every default and its comment, from the settings themselves."""

from typing import Any

import yaml
from pydantic import BaseModel

from alina.config.load import SECRETS
from alina.config.settings import Settings

HEADER = """\
# ALINA: every setting with its default, unit and meaning. Delete what you do not change.
# The environment overrides any of them: ALINA_RISK__COOLDOWN=30m.
# Secrets never stand here: they come from ALINA_EXCHANGE_API_KEY, ALINA_EXCHANGE_SECRET,
# ALINA_DATABASE_URL, ALINA_REDIS_URL, ALINA_FLOWER_PASSWORD and ALINA_MODEL_KEYS__NAME, or from the files
# named below.
"""
COMMENT_COLUMN = 40


def render_config(overrides: dict[str, Any] | None = None) -> str:
    """The commented text of a config.yaml; `overrides` (nested) replace defaults."""
    settings = Settings.model_validate(overrides or {})
    parts = [HEADER]
    for name, field in Settings.model_fields.items():
        if name not in (*SECRETS, "config_file"):
            parts.append("\n" + "".join(_lines(name, getattr(settings, name), field.description, 0)))
    return "".join(parts)


def _lines(name: str, value: Any, description: str | None, depth: int) -> list[str]:
    if isinstance(value, BaseModel):
        head = _commented(f"{'  ' * depth}{name}:", (type(value).__doc__ or "").strip())
        dumped = value.model_dump(mode="json")
        body = [
            line
            for key, field in type(value).model_fields.items()
            for line in _lines(
                key,
                getattr(value, key) if isinstance(getattr(value, key), BaseModel) else dumped[key],
                field.description,
                depth + 1,
            )
        ]
        return [head, *body]
    return [_commented(f"{'  ' * depth}{name}: {_flow(value)}", description or "")]


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).strip()
    return text.removesuffix("...").strip()


def _commented(text: str, comment: str) -> str:
    if len(text) < COMMENT_COLUMN:
        return f"{text.ljust(COMMENT_COLUMN)}# {comment}\n"
    return f"{' ' * COMMENT_COLUMN}# {comment}\n{text}\n"

"""Settings: config.yaml and the ALINA_* environment, validated once, frozen."""

from alina.config.load import load_settings
from alina.config.settings import Settings
from alina.config.template import render_config

__all__ = ["Settings", "load_settings", "render_config"]

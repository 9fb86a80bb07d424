"""Celery workers: thin shells that load by id, re-check and call the orchestrator."""

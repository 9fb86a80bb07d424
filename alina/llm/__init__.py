"""Local language models: opening one, asking it for structured answers, rendering its prompts."""

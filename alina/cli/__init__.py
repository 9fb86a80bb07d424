"""The `alina` command. Each module is a group of commands; heavy imports stand inside the commands."""

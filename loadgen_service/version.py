"""The version of the program, once: pyproject.toml, the CLI, metrics and log files read it here."""

__version__ = "0.1.0"

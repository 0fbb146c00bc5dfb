"""Errors that a user meets. Each message is one line that names the guilty thing and the remedy."""


class LoadgenError(Exception):
    """Root of the errors below; ``exit_code`` is what the command line returns."""

    exit_code = 3


class UserError(LoadgenError):
    """The user's mistake, found before any load: unknown model, bad file, wrong shape, bad flag."""

    exit_code = 2


class SettingsError(UserError):
    """A setting is wrong, or two of them contradict each other."""


class SutError(UserError):
    """The system under test cannot be reached, lacks the model, or disagrees about its tensors."""


class RunError(LoadgenError):
    """The run could not finish: no workers in time, the service died, the disk is full."""

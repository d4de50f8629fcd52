"""What the user is told when something is wrong: one sentence, and what to do."""


class FluoFocusError(Exception):
    """An error in what the user gave: says what is wrong and what to do about it.

    The command line prints its message without a traceback and exits with code 2.
    """


class FluoFocusWarning(UserWarning):
    """Something the user should know, though the work goes on."""

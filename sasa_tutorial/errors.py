"""What the library raises when something outside it is wrong: one clear message, no traceback on the command line."""


class TutorialError(RuntimeError):
    """What happened, what was expected and how to mend it, for a person to read.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 1

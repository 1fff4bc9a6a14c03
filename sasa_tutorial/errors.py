"""What the library raises when something outside it is wrong: one clear message, no traceback on the command line."""


class Told(Exception):
    """An error whose message is for a person: what happened, what was expected and how to mend it.

    A notebook shows the message and not the fifty lines of how the library came upon it.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython asks an exception for before it makes a traceback."""
        return [f"{type(self).__name__}: {self}"]


class TutorialError(Told, RuntimeError):
    """Something outside the program is not as it should be.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 1


class SettingError(Told, ValueError):
    """A setting that a person chose is none."""

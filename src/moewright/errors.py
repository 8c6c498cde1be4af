"""The exceptions that the command line prints as one line."""

from moewright.foreign_text import one_line

LAB_PACKAGES = ("torch", "safetensors", "setproctitle", "submitit", "tokenizers")
"""What the extra `lab` installs."""


class UserError(ValueError):
    """Says in one line what is wrong, where, and what to do. The command line prints it and exits with 2.

    Characters that no terminal shows, line ends among them, are written as escapes, and what is very long is cut in its
    middle: both come from names and files.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


class NewerFileError(UserError):
    """A file that a newer moewright wrote: not damaged, so nothing that follows from other files may replace it."""


class PlaceError(UserError):
    """A place for a result that is refused, or where nothing can be written."""


class RunStopped(RuntimeError):  # noqa: N818  (not always an error of anyone's)
    """It broke: a run diverged, or the machine failed. Says where, and what remains.

    The command line exits with 1.
    """


class OtherProcessError(RuntimeError):
    """Another process of the same run failed, and says why. The command line prints nothing and exits with 1."""


def needs_the_lab(error: ModuleNotFoundError) -> Exception:
    """What to raise for a module that is not there: what to install where it is one of the lab's packages."""
    if error.name not in LAB_PACKAGES:
        return error
    return UserError(f'{error.name} is not installed; pip install "moewright[lab]"')

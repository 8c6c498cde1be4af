"""The one exception that means: what the user gave is wrong."""


class UserError(ValueError):
    """Says in one line what is wrong, where, and what to do. The command line prints it and exits with 2."""

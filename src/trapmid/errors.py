"""The one error that is the user's to mend. Free of torch, so that a mistyped argument is answered at once."""


class UserError(ValueError):
    """A mistake the user can mend. The text says what arrived, what was expected and what to do; exit code 2."""

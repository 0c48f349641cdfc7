"""Text that is safe to show, on a terminal or in a notebook. Imports neither torch nor pydantic."""

import re
from typing import Any

from rich.console import Console
from rich.text import Text

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Text that is safe to show on a terminal.

    File names, identities and answers of servers may hold control characters, which could move the cursor or change
    what is shown; characters that reverse the direction of reading; and bytes that are not UTF-8. Each is written as an
    escape such as `\x1b`. Line ends and tabs stay.
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


class SafeConsole(Console):
    """A console that shows texts as they are: without markup, and with everything invisible made `visible`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What every text that is printed or stands in a table goes through."""
        return super().render_str(visible(text), **options)

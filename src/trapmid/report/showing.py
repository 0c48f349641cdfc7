"""Pages that notebooks show."""

import html
import sys
import webbrowser
from pathlib import Path


class Shown:
    """A page that shows itself."""

    page: Path

    def show(self) -> None:
        """Show the page: in the notebook that this is called from, or else in the browser."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if getattr(shell, "kernel", None) is not None:  # an imported ipykernel makes no notebook
            from IPython.display import display

            display(self)
            return
        webbrowser.open(self.page.resolve().as_uri())

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style stays within."""
        page = html.escape(self.page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 720px; border: 0" sandbox></iframe>'

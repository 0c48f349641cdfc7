"""Sphinx's settings for the documentation site. CONTRIBUTING.md and design.md say how it is built, and why so."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "trapmid"
author = "the trapmid authors"
project_copyright = author
version = release = version_of("trapmid")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "api_pages",
    "example_links",
    "member_pages",
    "signatures",
]
exclude_patterns = ["_build", "_extensions", "_templates"]

# MyST: pages stay readable on GitHub, so links are plain Markdown and directives are few.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# Mermaid, console sessions and plain text need no highlighting.
highlight_language = "text"
copybutton_prompt_text = "$ "

# The API from docstrings. They are Google's style, with fields under "Attributes".
# Docstrings write code between single backticks; as names of Python they are links where they can be.
default_role = "py:obj"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # signatures have them
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# `sphinx-build -n` reports names that lead nowhere. Names of other packages lead nowhere without their inventories,
# which a build without a network cannot fetch: `-t online` fetches them. Names that are not public have no page.
nitpick_ignore_regex = [("py:.*", r"(?s:.*)")]
if tags.has("online"):  # noqa: F821  # Sphinx defines it
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

bibtex_bibfiles = ["papers.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "author_year"

# `sphinx-build -b linkcheck` looks at addresses outside of the site; a build looks at all others.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_ignore = [r"http://127\.0\.0\.1.*"]

html_theme = "furo"
html_title = f"trapmid {release}"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["accessible.js"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

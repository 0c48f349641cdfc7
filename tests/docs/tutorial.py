"""Runs a tutorial in the working directory: its blocks of Python and its commands, in order.

uv run python tests/docs/tutorial.py docs/tutorials/write-an-attack.md

A block of Python whose first line is a comment with a file's name is a file, and is written. Blocks in another
language, such as `text` for what a command prints, are not run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

FILE = re.compile(r"# ([\w-]+\.py)\n")


class Python(CodeBlockParser):
    """Blocks of Python share their variables, as the cells of a notebook do."""

    language = "python"
    run = PythonEvaluator()

    def evaluate(self, example: Example) -> str | None:
        """Writes the file, or runs the block."""
        named = FILE.match(example.parsed)
        if named is None:
            return self.run(example)
        Path(named[1]).write_text(example.parsed, encoding="utf-8")
        return None


class Commands(CodeBlockParser):
    """Blocks of commands. The first one that fails ends the tutorial."""

    language = "bash"

    def evaluate(self, example: Example) -> str | None:
        """Runs the commands; says what they printed if one fails."""
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", example.parsed],
            env=os.environ | {"PATH": tools, "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        sys.stdout.write(done.stdout)
        return None if done.returncode == 0 else f"ended with {done.returncode}:\n{done.stdout}"


def run(page: Path) -> int:
    """Run every block of a page. Returns how many there were."""
    sys.path.insert(0, "")  # modules that the page has saved, as in an interactive session
    document = Document.parse(str(page), Python(), Commands())
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


if __name__ == "__main__":
    sys.stdout.write(f"{run(Path(sys.argv[1]).resolve())} blocks ran.\n")

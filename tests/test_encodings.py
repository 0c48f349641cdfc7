"""Text is UTF-8 wherever it is read or written: the platform's own encoding is another one on Windows."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def without_encoding(source: str) -> list[int]:
    """Lines of calls that read or write text in the platform's encoding."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or any(given.arg == "encoding" for given in call.keywords):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        modes = [value.value for value in call.args if isinstance(value, ast.Constant)]
        if name in ("read_text", "write_text") or (
            name == "open" and set(modes) & {"r", "w", "a", "x", "r+", "w+", "a+"}
        ):
            found.append(call.lineno)
    return found


def test_every_text_file_names_its_encoding() -> None:
    files = [file for folder in ("src", "examples") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = {str(file.relative_to(ROOT)): without_encoding(file.read_text(encoding="utf-8")) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_what_is_looked_for_is_found() -> None:
    source = 'a.read_text()\nb.write_text(x)\nc.open("a")\nd.open("rb")\ne.read_text(encoding="utf-8")\nopen(f, "w")\n'
    assert without_encoding(source) == [1, 2, 3, 6]

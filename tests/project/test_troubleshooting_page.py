"""The page on troubleshooting: each sentence that it quotes is one that the program can say."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| [^-]", line) and "| because |" not in line]
QUOTED = [quote for row in ROWS for quote in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
COMMANDS = re.compile(r"`(geoseg [a-z]+)[^`]*`")


def templates():
    """Every text of the program, with NUL where a value goes in."""
    for path in (ROOT / "geoseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(each.value if isinstance(each, ast.Constant) else "\0" for each in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


TEMPLATES = list(templates())


def can_be_said(quote: str) -> bool:
    """Whether a text of the program reads so, where '…' and values are anything."""
    words = re.sub(r"\b\d[\d.]*\b", "…", quote).split("…")
    wanted = re.compile(r"[^\n]*?".join(re.escape(each.strip()) for each in words))
    return any(wanted.search(text) for text in TEMPLATES)


@pytest.mark.parametrize("quote", QUOTED)
def test_each_sentence_stands_in_the_program(quote):
    assert can_be_said(quote)


def test_sentences_that_nobody_says_are_noticed():
    assert len(QUOTED) > 25
    assert not can_be_said("the moon is in the way")
    assert not can_be_said("was trained at pixels … bananas")


def test_each_row_says_why_and_what_to_do():
    assert all(len([cell for cell in row.strip("| ").split(" | ") if cell.strip()]) == 3 for row in ROWS)


def test_commands_and_options_that_it_names_exist():
    from typer.main import get_command

    from geoseg.cli import app

    commands = get_command(app).commands
    for name in COMMANDS.findall(PAGE):
        assert name.split()[1] in commands, name
    options = {option for command in commands.values() for each in command.params for option in each.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= options

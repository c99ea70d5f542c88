"""The commands of the README and of docs/, parsed by the parsers that would run them."""

import re
import shlex
from pathlib import Path

import pytest

from resight.cli import COMMANDS, job_parser, main, settings_of
from resight.config import load_config
from resight.job import JOBS, load_job

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
DOCS = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))


def shown(text):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    commands = "".join(block for language, block in blocks if not language).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in commands.splitlines()]


def calls(lines):
    return [words[1:] for words in lines if words and words[0].rsplit("/", 1)[-1] == "resight"]


LINES = shown(TEXT)
CALLS, CALLS_OF_DOCS = calls(LINES), calls(shown(DOCS))
SUBMITTED = [words for words in LINES if words[:1] == ["spark-submit"]]
OF_OTHERS = {"--packages", "--properties-file"}  # of spark-submit


def check_job(name, words):
    declared = load_job(name)
    parsed = job_parser(declared).parse_args(words)
    load_config(declared.config, None, settings_of(declared.config, parsed))


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))


def test_every_job_is_shown_once_at_least():
    assert {words[0] for words in CALLS} == {*JOBS, *COMMANDS}


@pytest.mark.parametrize("words", CALLS + CALLS_OF_DOCS, ids=" ".join)
def test_a_command_that_is_shown_is_understood(words, capsys):
    if words[0] in JOBS:
        check_job(words[0], words[1:])
    else:
        assert {word for word in words if word.startswith("--")} <= help_of(words[0], capsys)


def test_a_submitted_job_file_is_there_and_understands_its_options():
    assert SUBMITTED
    for words in SUBMITTED:
        at = next(i for i, word in enumerate(words) if word.endswith(".py"))
        assert (ROOT / words[at]).is_file()
        assert set(words[1:at:2]) <= OF_OTHERS
        check_job(Path(words[at]).stem.replace("_", "-"), words[at + 1 :])


def test_every_option_that_the_text_names_is_one(capsys):
    known = set().union(*(help_of(name, capsys) for name in (*JOBS, *COMMANDS)))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT)) <= known | OF_OTHERS

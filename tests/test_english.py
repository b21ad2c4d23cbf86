"""Plain English: phrases that readers stumble over stand in no docstring, comment, help text or page.

A phrase is listed because a reader for whom English is a second language had to read its sentence twice.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.source import ROOT, name_of, tree_of

FOLDERS = ("sharekit", "hospital_node", "consumer", "schemas", "benchmarks")
PAGES = ("README.md", "CHANGELOG.md", "docs")
HELP = {"help", "description"}
MESSAGE = {"expected", "found", "next_step"}
SUMMARIES = {"SUMMARY", "DESCRIPTION"}
MAX_WORDS = 60
"""A sentence with more words, those in parentheses aside, is two sentences."""


@dataclass(frozen=True)
class Text:
    """One stretch of prose: a paragraph, a comment, a help text, one argument of a docstring."""

    path: Path
    line: int
    words: str  # on one line; what stands in backticks is replaced
    is_help: bool = False

    def __str__(self) -> str:
        return f"{name_of(self.path)}:{self.line}"


@dataclass(frozen=True)
class Tic:
    """A pattern, what to write instead, and a text that has it."""

    example: str
    pattern: str
    instead: str
    in_help_alone: bool = False

    def find(self, text: Text) -> re.Match[str] | None:
        if self.in_help_alone and not text.is_help:
            return None
        return re.search(self.pattern, text.words)


BE = r"(?:is|are|was|were)"
FEW = r"[^.;:,()]{0,40}"
TICS = (
    # -- how a text begins
    Tic(
        "of the samples",
        r"^(?:of|on|in|at|by|for|from|with|after|per|where|how|what|that|which|whether|otherwise|as)\b",
        "begin with a verb or a noun: `seed of the samples`, `number of samples`",
        in_help_alone=True,
    ),
    Tic("Of the key that signed.", r"(?:^|(?<=[.!?] ))Of (?!course|these|those|them|all)\b", "`Digest of …`"),
    # -- None, nothing, nobody
    Tic("the network; None is none", r"\bNone is none\b", "say what happens with None"),
    Tic(
        "the driver, None without one",
        r"\bNone (?:without|where none|as long as)\b",
        "`None if there is no …`",
    ),
    Tic("a GPU where there is one", rf"\bwhere there {BE} (?:one|none|any|some)\b", "`if there is one`"),
    Tic("0 if that is nothing", rf"\bthat {BE} (?:nothing|none)\b", "say what it is"),
    Tic(
        "those that are missing are not nothing",
        rf"\b(?:[Nn]o|[Nn]one|[Nn]othing|[Nn]obody|[Nn]ever|[Nn]ot)\b{FEW}\b(?:nothing|nobody|none)\b",
        "say it positively",
    ),
    # -- there
    Tic(
        "a package that is not there",
        rf"\b{BE} (?:not )?there(?=[,.;:)]|$| (?:anyway|already|before|while|once|at)\b)",
        "`exists`, `is missing`, `is installed`",
    ),
    Tic("all that there are", rf"\b(?:all|those|ones|\w+s) that there {BE}\b", "`all`, `the existing …`"),
    # -- what is … is
    Tic(
        "what is done already is not done again",
        rf"\b[Ww]hat {BE} (?:not )?\w+(?: \w+)? {BE} (?!the\b|what\b)(?:not )?\w+",
        "name the thing: `Files that exist are kept`",
    ),
    Tic("what is saved is what is loaded", rf"\b[Ww]hat {BE} \w+ {BE} what {BE}\b", "name the thing"),
    # -- words for other words
    Tic("what is told of the scores", r"\b[Tt]old\b(?! apart)", "`reported`, `said`, `known`, `detected`"),
    Tic("`wait` tells of it", r"\b[Tt]ells? of\b", "`reports`"),
    Tic("samples beside real images", r"\b[Bb]esides?\b", "`next to`, `with`, `compared with`"),
    Tic(
        "hold samples against the real images",
        r"\b(?:hold|holds|held|holding)\b[^.;:]{0,40}\bagainst\b(?! (?:a |it\b))",
        "`compare … with`",
    ),
    Tic("0 as long as that is so", r"\bas long as (?:that|there|no|none|nobody|nothing)\b", "`while`, `if`"),
    Tic("such a file", r"(?<!\bno )(?<!\b[Aa]s )\b[Ss]uch\b(?! as\b)", "`this`, `these`, `of this kind`"),
    Tic(
        "about this very policy", r"\b(?:this|that|these|those) very\b", "`this`, `the same`, `exactly these`"
    ),
    Tic(
        "every file but the signature",
        r"\b(?:[Ee]very|[Aa]ll|[Nn]o|[Aa]ny)\b(?: [\w-]+){1,2} but (?:the|those|one|an?|that|what|its)\b",
        "`except`",
    ),
    Tic("at most so many", r"\bso many\b(?! that\b)", "name the number"),
    Tic("how to mend the file", r"\b[Mm]end(?:s|ed|ing)?\b", "`fix`, `repair`"),
    Tic("ask anew", r"\banew\b", "`again`"),
    Tic("it cannot be had", r"\bbe had\b", "`is available`, `is possible`"),
    Tic("what was worked off", r"\bworked off\b", "`done`"),
    Tic("gone on with from its checkpoint", r"\bgone on with\b", "`resumed`"),
    Tic("a share from which on it counts", r"\bfrom which on\b", "`from this share on`, `at least`"),
    Tic("images of unlike sizes", r"\b[Uu]nlike (?:sizes|images|shapes|kinds)\b", "`different`"),
    Tic("hence the shift", r"\b(?:[Hh]ence|[Tt]hus|whence|thence|(?:there|where|here)(?:of|in))\b", "`so`"),
    Tic(
        "amid the first scale",
        r"\b(?:amid|amidst|lest|whilst|albeit|upon)\b",
        "`during`, `so that … not`, `on`",
    ),
    Tic("an old release verifies for ever", r"\bfor ever\b", "`forever`, `always`"),
    # -- how a sentence is built
    Tic("the list's to say", r"\w's to (?:say|decide|choose|tell|give)\b", "`the list says`"),
    Tic(
        "what one demonstration is of.",
        r"\b(?:is|are|was|were|accepted|input) of(?=[.;:,)]|$)",
        "noun before verb",
    ),
    Tic("no more than one an epoch.", r"\bone an? [a-z]+\b(?= *[.;,]|$)", "`one per epoch`"),
    Tic(
        "A line a cell.",
        r"\b(?:[Aa]|[Oo]ne) (?:line|row|figure|dot|array|value|file|module) an? [a-z]+\b",
        "`One line per cell.`",
    ),
)

ALLOWED: tuple[tuple[str, str], ...] = ()
"""A file's name below the project's folder, and a phrase in it that is right as it stands."""

PLAIN = (
    "Compares samples with the real images.",
    "The bundle has no such file.",
    "A name such as `case-1`.",
    "Two rows can be told apart.",
    "Whoever holds a copy could confirm it against a plain hash.",
    "Is there a GPU?",
    "Returns None if there is no driver.",
    "The file that the hospital sent.",
)
SECTION = r"\s*(?:Args|Returns|Raises|Yields):"
ARGUMENT = r"\s+(?:\*{0,2}\w+(?:, )?){1,4}: "


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"``.*?``|`[^`]*`", "`…`", text, flags=re.DOTALL)).strip()


def _parts_of_docstring(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs and single arguments, results and errors, with their lines counted from the first."""
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""]):
        # Two spaces inside a line are columns of a table or a drawing.
        skipped = not line.strip() or re.match(SECTION, line) or re.search(r"\S {2,}\S", line)
        if lines and (skipped or re.match(rf"{ARGUMENT}|\s*[-*] ", line)):
            yield start, " ".join(lines)
            lines = []
        if not skipped:
            start = start if lines else number
            lines.append(re.sub(ARGUMENT, "", line))


def _literal(node: ast.expr) -> str:
    """The text of a string; the values of an f-string as `…`; nothing of other expressions."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) or "`…`" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _docstrings_and_messages(path: Path) -> Iterator[Text]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr):
            for offset, part in _parts_of_docstring(_literal(node.value)):
                yield Text(path, node.lineno + offset, _one_line(part))
        elif isinstance(node, ast.keyword) and node.arg in HELP | MESSAGE:
            yield Text(path, node.value.lineno, _one_line(_literal(node.value)), is_help=node.arg in HELP)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in SUMMARIES:
            yield Text(path, node.lineno, _one_line(_literal(node.value)), is_help=True)


def _comments(path: Path) -> Iterator[Text]:
    """Comments; those on consecutive lines at one column are one."""
    block: list[tokenize.TokenInfo] = []
    source = io.StringIO(path.read_text(encoding="utf-8"))
    found = [token for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.COMMENT]
    for token, following in zip_longest(found, found[1:]):
        block.append(token)
        row, column = token.start
        if following is None or following.start != (row + 1, column) or token.line.strip() != token.string:
            words = " ".join(one.string.lstrip("#").strip() for one in block)
            yield Text(path, block[0].start[0], f"# {_one_line(words)}")
            block = []


def _of_page(path: Path) -> Iterator[Text]:
    """Paragraphs, items of lists and cells of tables; no code."""
    lines, start, fenced = list[str](), 0, False
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], start=1):
        fence = line.lstrip().startswith("```")
        skipped = fenced or fence or not line.strip() or line.startswith("|")
        begins = re.match(r"\s*(?:[-*]|#+|\d+\.) ", line)
        if lines and (skipped or begins):
            yield Text(path, start, _one_line(" ".join(lines)))
            lines = []
        fenced ^= fence
        if line.startswith("|") and not fenced:
            yield from (Text(path, number, _one_line(cell)) for cell in line.split("|") if cell.strip(" -:"))
        elif not skipped:
            start = start if lines else number
            lines.append(line[begins.end() :] if begins else line)


@cache
def every_text() -> tuple[Text, ...]:
    found: list[Text] = []
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        found += [*_docstrings_and_messages(path), *_comments(path)]
    for page in (ROOT / name for name in PAGES):
        for path in sorted(page.rglob("*.md")) if page.is_dir() else [page]:
            found += _of_page(path)
    return tuple(text for text in found if not _is_allowed(text))


def _is_allowed(text: Text) -> bool:
    return any(name_of(text.path) == name and phrase in text.words for name, phrase in ALLOWED)


@pytest.mark.parametrize("tic", TICS, ids=[tic.example for tic in TICS])
def test_no_text_makes_its_reader_stumble(tic: Tic) -> None:
    wrong = [
        f"{text}: {text.words[max(0, match.start() - 40) : match.end() + 40]}"
        for text in every_text()
        if (match := tic.find(text))
    ]
    assert wrong == [], f"write instead: {tic.instead}"


def test_no_sentence_is_longer_than_a_reader_can_follow() -> None:
    wrong = []
    for text in every_text():
        for sentence in re.split(r"(?<=[.!?:;]) (?=[A-Z`“])", re.sub(r"\([^()]*\)", "", text.words)):
            count = len(re.findall(r"[\w’'`-]+", sentence))
            if count > MAX_WORDS and " | " not in sentence:  # a row of a table
                wrong.append(f"{text}: {count} words: {sentence[:80]} …")
    assert wrong == []


@pytest.mark.parametrize("tic", TICS, ids=[tic.example for tic in TICS])
def test_every_pattern_finds_its_example(tic: Tic) -> None:
    assert tic.find(Text(ROOT, 1, tic.example, is_help=tic.in_help_alone))


@pytest.mark.parametrize("sentence", PLAIN)
def test_plain_sentences_are_left_alone(sentence: str) -> None:
    assert [tic.example for tic in TICS if tic.find(Text(ROOT, 1, sentence))] == []


def test_every_kind_of_text_is_read() -> None:
    texts = every_text()
    kinds = {(text.path.suffix, text.is_help, text.words.startswith("# ")) for text in texts}
    assert kinds == {(".py", False, False), (".py", True, False), (".py", False, True), (".md", False, False)}
    assert len({text.path for text in texts}) > 300

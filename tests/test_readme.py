"""README and guides are run: their commands in order in one folder, their Python, their excerpts of help."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import consumer.cli
import hospital_node.cli
import sharekit.cli
from sharekit.demo import phantom
from sharekit.program.command_line import EXIT_CODES, build_parser
from tests import observed
from tests.commands_of_pages import blocks, commands_of

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
GUIDES = ("node-guide", "consumer-guide", "evaluation", "security")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in GUIDES))
"""In the order in which a reader meets them."""
PROGRAMS = {"hospital-node": hospital_node.cli, "consumer": consumer.cli, "sharekit": sharekit.cli}
ELSEWHERE = (ROOT / "docs" / "two-hospitals.md", ROOT / "docs" / "key-services.md")
"""Run by `tests/test_two_hospitals.py` and `tests/sharekit/test_key_service.py`."""

OBSTACLE = observed.obstacle()
_RAY = re.compile(r"/tmp/node-\w{8}(/|$)|/proc/")  # noqa: S108

FAIR = (
    *("--images-per-fold", "1", "--held", "0", "--train-options", "--profile quick --iterations 1"),
    *("--segmenter-options", "--encoder resnet18 --architecture unet --size 32 --batch-size 2"),
)
EXPERIMENT = (*FAIR, "--validation-images", "1", "--seeds", "0", "--updates", "1")
SHORTENED = {
    "hospital-node train": ("--profile", "quick", "--iterations", "2"),
    "hospital-node audit": ("--samples", "16"),
    "consumer style": ("--steps", "1"),
    "consumer sample": ("--samples", "6"),
    "consumer train": ("--updates", "2", "--threads", "1"),
    "sharekit experiment table2": (*EXPERIMENT, "--real", "1"),
    "sharekit experiment table1": (*EXPERIMENT, "--samples", "1", "--styles"),
    "sharekit experiment fair": (*FAIR, "--plan", str(ROOT / "tests" / "fair-tiny.json")),
}
"""Added to the README's command lines for less work; a later option replaces an earlier one."""
SLOW = ("sharekit experiment table1", "sharekit experiment table2", "sharekit experiment fair")
"""The commands that only the slow run executes begin so."""


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return [content for page in PAGES for content in blocks(page, language)]


def _commands() -> list[str]:
    """Every command once: a guide repeats what the README shows."""
    shown = [one for page in PAGES for one in commands_of(page)]
    assert all(one.exit_code == 0 for one in shown)
    return list(dict.fromkeys(one.line for one in shown))


def _run(command: list[str], folder: Path) -> None:
    """Our programs are watched: they contact nobody, and write in this folder and a temporary one alone."""
    home, temporary = folder / "home", folder / "temporary"
    for path in (home, temporary):
        path.mkdir(exist_ok=True)
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    # What a user trusts and has pulled: `~/.sharekit`, unless this names another folder.
    environment["SHAREKIT_HOME"] = str(folder / "sharekit-home")
    # torch sets it in a process that has loaded its compiler, such as this one.
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    if OBSTACLE is not None or command[0] not in PROGRAMS:
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout}{result.stderr}"
        return
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    seen = observed.run(command, cwd=folder, environment=environment)
    assert seen.returncode == 0, f"{shlex.join(command)}\n{seen.stdout}{seen.stderr}"
    assert seen.strangers == [], shlex.join(command)
    # Ray needs a path that is shorter than a test's.
    elsewhere = [path for path in seen.outside([folder, Path("/dev")]) if not _RAY.match(str(path))]
    assert elsewhere == [], shlex.join(command)
    assert list(home.iterdir()) == [], shlex.join(command)


def test_every_command_of_the_programs_is_run_here_but_the_demo() -> None:
    run = {tuple(shlex.split(line)[:2]) for line in _commands()}
    every = {(program, command) for program, module in PROGRAMS.items() for command in module.COMMANDS}
    assert every - run == {("sharekit", "demo")}


def _walk(commands: list[str], folder: Path) -> None:
    phantom.write_data_set(folder / "data", 6, height=96, width=112)
    phantom.write_data_set(folder / "held-out", 20, seed=1, height=64, width=80)
    for line in commands:
        program, *arguments = shlex.split(line)
        if program == "make":
            # What `make demo` and `make test` run is tested elsewhere; here, that there is such a target.
            _run(["make", "--dry-run", *arguments], ROOT)
            continue
        shorter = next((more for name, more in SHORTENED.items() if f"{line} ".startswith(f"{name} ")), ())
        _run([program, *arguments, *shorter], folder)


@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_every_command_works_in_the_order_of_readme_and_guides(tmp_path: Path) -> None:
    commands = [line for line in _commands() if not line.startswith(SLOW)]
    assert len(commands) > 10
    _walk(commands, tmp_path)
    for program in dict.fromkeys(_blocks("python")):
        _run([sys.executable, "-c", program], tmp_path)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_slow_commands_of_readme_and_guides_work(tmp_path: Path) -> None:
    commands = [line for line in _commands() if line.startswith(SLOW)]
    assert commands
    _walk(commands, tmp_path)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_excerpt_is_what_the_program_prints(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    module = PROGRAMS[program]
    printed = build_parser(program, module.DESCRIPTION, module.COMMANDS).format_help()
    excerpts = [block for block in _blocks("text") if block.startswith(f"usage: {program} ")]
    assert excerpts
    assert all(excerpt.strip() in printed for excerpt in excerpts), printed
    assert all(name in excerpts[0] for name in module.COMMANDS)


def test_the_exit_codes_are_the_programs_own() -> None:
    assert EXIT_CODES.strip() in [block.strip() for block in _blocks("text")]


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE], ids=lambda page: page.stem)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", _text(page))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_a_newcomer_finds_what_matters_on_the_first_screens() -> None:
    lines = _text(ROOT / "README.md").splitlines()
    assert len(lines) < 200
    assert {"$ make demo", "$ make test"} <= set(lines[:20])
    assert any("Does it help?" in line for line in lines[:40])


def test_every_target_of_the_makefile_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert named
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_every_decision_is_in_the_index_under_its_title() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    missing = []
    for path in sorted(folder.glob("[0-9]*.md")):
        number, title = re.match(r"# (\d+)[.:] (.+)", path.read_text(encoding="utf-8")).groups()
        row = f"| [{int(number):04}]({path.name}) | {title} |"
        if row not in index or not path.name.startswith(f"{int(number):04}-"):
            missing.append(row)
    assert missing == []

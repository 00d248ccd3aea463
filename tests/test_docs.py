"The pages say what is: each command in them parses, each finding and outcome has its remedy, and what can run here runs."

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

import site_reference  # noqa: E402

from ready_steady_go.commands import cli  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs/site").rglob("*.md"))]
# Their words are checked by nobody here: they need a rented box, a network, an account or an engine for containers.
ELSEWHERE = (
    "git clone", "cd", "pipx", "uvx", "rm", "scp", "ssh", "tmux", "vastai", "runpodctl", "docker", "wandb login", "python3 -m venv", ".",
    "bash",
)  # fmt: skip


def blocks(page, language):
    "The code blocks of a page in one language."
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def commands(page):
    "The commands that a page tells its reader to type: those in blocks, and those of rsg in tables and sentences."
    lines = [line for block in blocks(page, "(?:sh|shell|bash)") for line in block.replace("\\\n", " ").splitlines()]
    lines += [code for code in re.findall(r"`(rsg [^`\n]+)`", page.read_text()) if "COMMAND" not in code]
    for line in lines:
        for part in re.split(r"&&|;(?= )", re.sub(r"\s+#.*$", "", line)):
            if part.strip(): yield part.strip()


ALL = sorted({command for page in PAGES for command in commands(page)})


def arguments(command):
    "Return the words that the shell hands to the program."
    words = shlex.split(command)
    return words[1 : words.index(">") if ">" in words else None]


def accepted(args):
    "Parse arguments as rsg does, down to its commands; a mistake is an exception."
    group, args = typer.main.get_command(cli.app), cli.with_backend(args)
    if args == ["--install-completion"]:  # would be done while it is parsed
        assert any(args[0] in p.opts for p in group.params)
        return
    if args in (["--help"], ["--help-all"]): return
    with group.make_context("rsg", list(args)) as context:
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if rest and rest[-1] != "--help":
            name, command, rest = group.resolve_command(context, rest)
            command.make_context(name, rest, parent=context)


def test_there_are_commands_on_the_pages():
    assert "rsg --model resnet50 --fp16" in ALL and "rsg push --project ready-steady-go rsg-results.jsonl" in ALL


@pytest.mark.parametrize("command", [c for c in ALL if c.startswith("rsg ")])
def test_a_command_of_rsg_parses(command):
    accepted(arguments(command))


@pytest.mark.parametrize("wrong", ["rsg --modle resnet50", "rsg doctr", "rsg push --to NAME", "rsg --budget"])
def test_one_that_does_not_is_found(wrong):
    with pytest.raises(Exception, match="(?i)no such|requires"): accepted(arguments(wrong))


@pytest.mark.parametrize("command", [c for c in ALL if not c.startswith("rsg ")])
def test_any_other_command_is_one_we_know(command):
    if command.startswith(ELSEWHERE): return
    first, *rest = shlex.split(command)
    if first == "python" and rest[0] != "-m":
        source = (ROOT / rest[0]).read_text()
        assert not [word for word in rest[1:] if word.startswith("--") and f'"{word}"' not in source]
    elif first == "pip":
        extras = re.findall(r"\.\[(\w+)\]", command)
        assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras)
    else:
        assert first in ("nbdev_export", "nbdev_clean", "nbdev_test", "ruff", "pytest", "jupytext", "jupyter", "python", "wandb"), command


def test_the_model_of_ones_own_trains(tmp_path):
    page = ROOT / "docs/site/families.md"
    (tmp_path / "my_models.py").write_text(blocks(page, "python")[0])
    (command,) = [c for c in commands(page) if c.startswith("rsg --model my_models:tiny --bs")]
    asked = [sys.executable, "-m", "ready_steady_go", *arguments(command), "--device", "cpu"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tiny fp32" in done.stdout and (tmp_path / "rsg-results.jsonl").read_text().count('"outcome":"ok"') >= 2


def test_the_suite_of_ones_own_is_one():
    from ready_steady_go.run.suite_file import parse_suite

    (text,) = blocks(ROOT / "docs/site/suites.md", "toml")
    assert len(parse_suite(text, "my", "my.toml").runs) > 2


def rows(page, heading):
    "The first column of the table below a heading, taken apart where it holds several codes."
    table = page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return {code for line in table.splitlines() if line.startswith("| `") for code in re.findall(r"`([^`]+)`", line.split("|")[1])}


def test_each_finding_has_its_remedy():
    "Each code that a detector can return has a row, and each row has a detector."
    from ready_steady_go.truth.findings import FINDINGS

    assert set(site_reference.finding_codes()) == set(FINDINGS)
    page, table = (ROOT / "docs/site/troubleshooting.md").read_text(), site_reference.findings_table()
    assert "\n@@findings@@\n" in page
    assert all(f"| `{code}` | {row.severity} | " in table for code, row in FINDINGS.items())
    assert "{" not in table and not re.search(r"[^`]--", re.sub(r"`[^`]+`|^\|[-|]+$", "", table, flags=re.M))


def test_each_outcome_has_its_row():
    source = "".join(path.read_text() for path in site_reference.PACKAGE.rglob("*.py"))
    spelled = set(re.findall(r'"((?:failed|skipped):[\w]+)"', source)) | {"ok", "oom", "impossible"}
    assert spelled <= rows(ROOT / "docs/site/troubleshooting.md", "Outcomes")


def test_each_error_is_listed():
    "Each place that raises one in its own words gives at least one message to the page."
    listed = {text for _, text in site_reference.raised()}
    assert len(listed) > 60
    for text in (
        "no model given: add --model, for example rsg --model resnet50 --fp16", "no model '<model>'<hint>",
        "torch is not installed; run pip install torch torchvision", "--seconds <seconds>: expected <MIN_LOAD_S> to <MAX_LOAD_S> s",
    ): assert text in listed  # fmt: skip
    page = site_reference.error_reference()
    own = [text for text in listed if not site_reference.is_only_places(text)]
    assert len(own) > 100 and all(f"`{text.replace('`', chr(39))}`" in page for text in own)
    assert site_reference.is_only_places("<where>: …") and not site_reference.is_only_places("<where>: no model")


def test_the_reference_is_what_help_prints():
    page = site_reference.command_reference()
    sections = dict(section.split("\n", 1) for section in page.removeprefix("## ").split("\n\n## "))
    assert [*sections] == ["rsg", *(f"rsg {name}" for name in site_reference.commands())]
    for name, section in sections.items():
        words = name.split()[1:]
        shown = site_reference.help_of(*words)
        options = set(re.findall(r"^  (--[\w-]+(?: [A-Z][A-Z,:=./|\[\]]*)?)", shown, flags=re.M)) - {"--help"}
        assert f"```text\n{name} " in section and [o for o in options if f"* - `{o}" not in section] == []
    assert len(re.findall(r"^\* - ", sections["rsg"], flags=re.M)) > 60


def test_the_notebook_for_colab_uses_what_exists():
    "It cannot run here: it installs from the network. Its commands parse, and its names are public."
    import ready_steady_go

    cells = [cell["source"] for cell in json.loads((ROOT / "docs/colab.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    code = ["".join(cell) for cell in cells]
    for line in "\n".join(code).splitlines():
        if line.startswith("!rsg "): accepted(shlex.split(line)[1:])
    names = set(", ".join(re.findall(r"^from ready_steady_go import (.*)$", "\n".join(code), flags=re.M)).split(", "))
    assert names and names <= set(ready_steady_go.__all__)
    for cell in code:
        if not cell.startswith("!"): compile(cell, "colab", "exec")


def test_pictures_are_of_the_pages():
    "A picture that no page shows is dead weight, and one that is missing breaks the site."
    shown = {name for page in PAGES for name in re.findall(r"pictures/([\w.-]+)", page.read_text())}
    there = {path.name for path in (ROOT / "docs/site/pictures").glob("*")}
    assert there == shown

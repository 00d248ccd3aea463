"Wheel and sdist hold the files that they must, their metadata is whole, and the program completes options in a shell."

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ABOUT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "A wheel and an sdist, made by the build backend without the network."
    folder = tmp_path_factory.mktemp("dist")
    script = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1])); print(b.build_sdist(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_is_whole(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode()
        entry = wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    files = (p for p in (ROOT / "ready_steady_go").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    package = {p.relative_to(ROOT).as_posix() for p in files}
    assert package <= names
    assert not [n for n in names if not n.startswith(("ready_steady_go/", "rsg_bench-"))] and "ready_steady_go/py.typed" in names
    assert "rsg = ready_steady_go.commands.cli:main" in entry
    wanted = "License-Expression: Apache-2.0", "Project-URL: Documentation, https://", "Requires-Python: >=3.11"
    assert all(field in metadata for field in wanted)
    assert "# Ready, Steady, Go!" in metadata


def test_the_sdist_builds_the_site_and_runs_the_tests(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist: names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {
        "tools/build_site.py", "docs/site/index.md", "nbs/timing/02a_measure.ipynb", "tests/test_docs.py", "CITATION.cff",
        "docker/Dockerfile",
    }  # fmt: skip
    assert wanted <= names
    assert not [n for n in names if "_docs/" in n or "_proc/" in n]


def test_nothing_of_development_is_needed_to_run():
    "The package imports only what its dependencies install, and nothing of the dev extra."
    extras = {"transformers", "wandb_workspaces"}  # imported where they are used, with a remedy
    dev = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in ABOUT["optional-dependencies"]["dev"]} - extras
    source = "\n".join(p.read_text() for p in (ROOT / "ready_steady_go").rglob("*.py") if p.name != "_modidx.py")
    assert not dev & set(re.findall(r"^\s*(?:from|import) ([\w]+)", source, flags=re.M))


@pytest.mark.parametrize("typed,offered", [("--mo", "--model"), ("do", "doctor")])
def test_the_shell_completes(typed, offered):
    asked = dict(_RSG_COMPLETE="complete_bash", COMP_WORDS=f"rsg {typed}", COMP_CWORD="1")
    command = [sys.executable, "-c", "from ready_steady_go.commands.cli import main; main()"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True)
    assert offered in done.stdout.split() and done.returncode == 0, done.stderr


def test_completion_installs(tmp_path):
    "In a home of its own, from a shell that is known."
    command = f"'{sys.executable}' -m ready_steady_go --install-completion; exit $?"
    env = os.environ | dict(HOME=str(tmp_path), SHELL="/bin/bash")
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("rsg.sh")) and "rsg.sh" in (tmp_path / ".bashrc").read_text()


def test_the_citation_is_of_this_version():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    settings = (ROOT / "settings.ini").read_text()
    assert f"version = {about['version']}\n" in settings
    assert about["cff-version"] == "1.2.0" and about["title"] and about["message"] and about["authors"] and about["license"] == "Apache-2.0"


def test_workflows_are_careful():
    "Each action is pinned to a commit with its version beside it, and each workflow begins with the right to read and no more."
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert {path.stem for path in files} == {"test", "docs", "release"}
    for path in files:
        text = path.read_text()
        flow = yaml.safe_load(text)
        assert flow["permissions"] in ({"contents": "read"}, {}), path
        used = re.findall(r"uses: (\S+)( # v[\d.]+)?", text)
        assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) and version for name, version in used), path
        assert all("timeout-minutes" in job for job in flow["jobs"].values()), path


def step_of(workflow, job, name):
    "Return the commands of a step in a workflow."
    steps = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text())["jobs"][job]["steps"]
    return next(step["run"] for step in steps if step.get("name") == name)


@pytest.mark.parametrize("file, code", [("rsg_bench-0.1.0-py3-none-any.whl", 0), ("ready_steady_go-0.1.0.tar.gz", 1)])
def test_only_a_distribution_with_our_name_is_released(tmp_path, file, code):
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / file).touch()
    script = step_of("release", "build", "The name is ours: ready-steady-go on PyPI is another project")
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and (file in done.stdout) == bool(code)


def test_an_installed_torch_is_kept(built, tmp_path):
    "In a new environment with the oldest versions that are supported, pip would install nothing but rsg."
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (packages,) = tmp_path.glob("venv/lib/python*/site-packages")
    for line in ABOUT["dependencies"]:
        name, floor = re.match(r"([\w-]+)(?:>=([\d.]+))?", line).groups()
        folder = packages / f"{name.replace('-', '_')}-{floor or '0.1'}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {floor or '0.1'}\n", encoding="utf-8")
    (wheel,) = built.glob("*.whl")
    command = [tmp_path / "venv/bin/python", "-m", "pip", "install", "--dry-run", "--no-index", wheel]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^Would install (.*)$", done.stdout, flags=re.M) == [f"rsg-bench-{version()}"]


def version():
    return re.search(r"^version = (.*)$", (ROOT / "settings.ini").read_text(), flags=re.M)[1]


def test_the_whole_suite_has_workers_and_they_have_none(monkeypatch):
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("whole_suite", ROOT / "tests/conftest.py")
    spec.loader.exec_module(conftest := module_from_spec(spec))

    monkeypatch.setattr(conftest, "cores", lambda: [0, 1])
    of = lambda args, **more: SimpleNamespace(option=SimpleNamespace(usepdb=False, numprocesses=None), args=args, **more)
    whole, some, worker = of(["tests"]), of(["tests/test_package.py"]), of(["tests"], workerinput=dict(workerid="gw0", workercount=2))
    for config in whole, some, worker: conftest.pytest_cmdline_main(config)
    assert [c.option.numprocesses for c in (whole, some, worker)] == [2, None, None]

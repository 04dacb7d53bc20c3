"""The documentation names everything a user can name, and nothing that does not exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from module_map import MARK, PACKAGE, module_map, on_page_markdown
from operator_table import BEGIN, END, catalogue, updated

import onnx2snn
from onnx2snn.cli.commands import COMMANDS
from onnx2snn.graph.operators import LINEAR, REFUSED
from onnx2snn.prepare.activations import CONDITIONS, RULES
from onnx2snn.protos.nodes import MAX_POOLS
from onnx2snn.score.registry import METRICS

ROOT = Path(__file__).parents[2]
DOCS = {
    path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = DOCS["architecture.md"]
RUN, SHOWN = {"sh", "python"}, {"text"}
"""The languages of blocks: tests run the first, nothing runs the second."""


def languages(text: str) -> set[str]:
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    return set(fences[::2])


def about(command: str) -> str:
    """The pages on a command, each from where it is named."""
    mark = f"`onnx2snn {command} " if command else "`onnx2snn MODEL -o OUT`"
    return "\n".join(page[page.index(mark) :] for page in DOCS.values() if mark in page)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_and_option_is_mentioned(command: str) -> None:
    text = about(command)
    assert text, f"'onnx2snn {command}' is on no page of docs/"
    for action in COMMANDS[command][0]()._actions:
        for option in action.option_strings:
            if option.startswith("--") and option not in ("--help", "--version"):
                assert re.search(rf"`{option}\b", text), (
                    f"{option} of 'onnx2snn {command}' is on no page of docs/"
                )


@pytest.mark.parametrize("metric", list(METRICS))
def test_every_metric_has_a_row(metric: str) -> None:
    assert re.search(rf"^\|.*`{metric}`.*\|$", DOCS["evaluate.md"], re.MULTILINE)


@pytest.mark.parametrize("name", onnx2snn.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"onnx2snn\.{name}\b", DOCS["api.md"])


@pytest.mark.parametrize("page", ["README.md", *DOCS])
def test_every_block_is_an_example_or_text(page: str) -> None:
    assert languages(DOCS.get(page, README)) <= RUN | SHOWN


def test_every_page_is_in_the_navigation() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- ([\w/]+\.md)$", site, re.MULTILINE)
    assert sorted(named) == sorted(DOCS)


def test_the_supported_operators_are_those_of_the_tables() -> None:
    """If this fails: python tools/operator_table.py docs/operators.md."""
    page = DOCS["operators.md"]
    assert updated(page) == page
    section = page[page.index(BEGIN) : page.index(END)]
    for op in [*LINEAR, *MAX_POOLS, *RULES, *REFUSED]:
        assert re.search(rf"\b{op}\b", section), f"{op} is not in the table of operators"
    assert set(RULES) | {"Relu"} == set(CONDITIONS)


def test_the_script_puts_the_tables_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    script = ROOT / "tools" / "operator_table.py"
    subprocess.run([sys.executable, str(script), "page.md"], cwd=tmp_path, check=True)
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}\n{catalogue()}\n{END}\nafter\n"


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{name}" for name in DOCS)]
)
def test_every_path_in_backticks_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in set(re.findall(r"`((?:[\w.]+/)+(?:[\w.]+\.(?:py|md|npz|onnx|yml))?)`", text)):
        homes = [ROOT, ROOT / "onnx2snn"]
        assert any((home / path).exists() for home in homes), f"{path} on {page} does not exist"


def test_the_floors_are_those_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (stages,) = [c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    floors = "\n".join(stages["layers"])
    assert f"```text\n{floors}\n```" in ARCHITECTURE


def test_every_folder_is_explained() -> None:
    section = ARCHITECTURE[
        ARCHITECTURE.index("## Folders") : ARCHITECTURE.index("## What happens to a Relu")
    ]
    folders = [path.parent.name for path in (ROOT / "onnx2snn").glob("*/__init__.py")]
    for folder in folders:
        assert f"| `{folder}/` |" in section, f"{folder}/ has no row in docs/architecture.md"


def test_the_map_of_the_site_has_a_line_for_every_module() -> None:
    assert on_page_markdown(f"above\n{MARK}\nbelow") == f"above\n{module_map()}\nbelow"
    assert MARK in ARCHITECTURE
    assert len(module_map().splitlines()) == 2 + len(list(PACKAGE.rglob("*.py")))
    assert not re.search(r"\|  \|$", module_map(), re.MULTILINE), "a module has no docstring"


def test_public_names_in_the_code_of_examples_exist() -> None:
    """An example that a page shows but that a test cannot run would be `text`."""
    for text in (README, *DOCS.values()):
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "onnx2snn"
                ):
                    assert node.attr in onnx2snn.__all__


def test_the_site_builds_and_needs_no_other_host(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("the extra 'docs' is not installed")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(
        r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^"'>\s]+"""
    )
    for path in tmp_path.rglob("*.html"):
        assert not fetched.findall(path.read_text(encoding="utf-8")), (
            f"{path.name} fetches from another host"
        )
    for path in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), (
            path.name
        )

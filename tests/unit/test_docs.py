"""Everything a user can meet is documented, and what the documentation says exists.

No Sphinx is needed: the pages are read as they lie in docs/. `make docs` builds them.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from adamacs import cli
from adamacs.core import settings, tokens
from adamacs.modalities.imaging.reader import npy

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DECISIONS = DOCS / "explanations" / "decisions"
REFUSED = DOCS / "how-to" / "refused-folders.md"

_FENCE = re.compile(r"^ *(?P<mark>`{3,})\{?(?P<kind>[\w-]*)\}?[^\n]*\n(?P<body>.*?)^ *(?P=mark)$", re.M | re.S)
_LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.MULTILINE)
_OTHER_VARIABLE = re.compile(r"ADAMACS_[A-Z]+(?:_[A-Z]+)*")

# What a decision page must say; the names follow the plan of the house, so that none is forgotten.
_SECTIONS = ("Context", "Decision", "Consequences")
_DECIDED = {
    "arrival": "incubation",
    "array-codec": "array format",
    "certificate": "is_compared",
    "checksums": "blake3",
    "claims": "~~",
    "claims-in-sql": "SKIP LOCKED",
    "click": "click",
    "clocks": "ClockSync",
    "datajoint": "2.3.5",
    "dependencies": "dependency",
    "embedded-postgresql": "launcher",
    "extras": "extras",
    "foreign-pickles": "pickle",
    "heartbeats": "lease",
    "kept-results": "processed/computed",
    "keys-and-tokens": "session_id",
    "lab-servers": "MariaDB",
    "layers": "import-linter",
    "not-exists": "NOT EXISTS",
    "own-tables": "oracle",
    "plans": "plan",
    "portable-definitions": "uuid",
    "python-versions": "3.11",
    "read-committed": "REPEATABLE READ",
    "retries": "jitter",
    "server-account": "nobody",
    "settings": "adamacs.toml",
    "sphinx": "Sphinx",
    "three-part-make": "make_fetch",
    "times": "naive UTC",
    "worker-processes": "JSON",
}


def load(name: str) -> ModuleType:
    """Import a script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("generate")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """Yield (page, content) of every fenced block of a kind."""
    for page in PAGES:
        for match in _FENCE.finditer(text(page)):
            if match["kind"] == kind:
                yield name_of(page), match["body"]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks and code, in which a link is no link."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", text(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and myst make them."""
    found = set()
    for match in _HEADING.finditer(_FENCE.sub("", text(page))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match["text"]).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


# ---- what the code has is documented


def test_no_generated_page_is_stale(generate: ModuleType) -> None:
    assert generate.stale() == [], "run: python docs/generate.py"


def test_generating_twice_gives_the_same_bytes(generate: ModuleType) -> None:
    assert {name: make() for name, make in generate.PAGES.items()} == {n: make() for n, make in generate.PAGES.items()}


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}

    def walk(command: click.Command, path: str, parent: click.Context | None) -> None:
        context = click.Context(command, info_name=path, parent=parent)
        found[path] = command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(child, f"{path} {name}", context)

    walk(cli.cli, "adamacs", None)
    return found


def test_every_command_and_every_option_is_documented_with_a_sentence() -> None:
    page = text(DOCS / "reference" / "command-line.md")
    for path, command in commands().items():
        assert (command.help or "").strip().endswith((".", ":")), f"{path} has no sentence"
        assert re.search(rf"^#+ {re.escape(path)}$", page, re.MULTILINE) or path == "adamacs", f"{path} has no section"
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(f"`{name}`" in page for name in option.opts), f"{path} {option.opts}"
                assert (option.help or "").strip(), f"{path} {option.opts[-1]} says nothing"


def test_every_setting_is_documented_with_a_sentence_and_its_variable(generate: ModuleType) -> None:
    page, environment = (text(DOCS / "reference" / name) for name in ("settings.md", "environment.md"))
    for name, _, _, sentence in settings.documented():
        assert sentence.endswith("."), f"{name} says nothing"
        assert f"`{name}`" in page
        assert f"`{generate.variable_of(name)}`" in environment


def test_every_variable_that_the_code_reads_is_documented(generate: ModuleType) -> None:
    documented = set(generate.OTHER_VARIABLES) | {generate.variable_of(name) for name, *_ in settings.documented()}
    places = [*(REPOSITORY / "adamacs").rglob("*.py"), *(REPOSITORY / "tests").glob("*.py"), REPOSITORY / "Makefile"]
    for path in places:
        for name in _OTHER_VARIABLE.findall(text(path)):
            is_part = any(known.startswith(f"{name}_") for known in documented) or name == "ADAMACS_SECTION_FIELD"
            assert name in documented or is_part, f"{name} in {path.name}"


def test_every_variable_of_the_makefile_is_documented(generate: ModuleType) -> None:
    settable = re.findall(r"^(?:export )?([A-Z_]+) \?=", text(REPOSITORY / "Makefile"), re.MULTILINE)
    assert settable and set(settable) <= set(generate.OTHER_VARIABLES)


def test_every_table_has_a_sentence_and_every_column_a_meaning(generate: ModuleType) -> None:
    page = text(DOCS / "reference" / "tables.md")
    for table in generate.diagram.read_tables():
        assert table.definition.comment, f"{table.path} has no sentence"
        assert f"### {table.schema}.{table.name}\n" in page
    assert generate.undocumented_columns() == [], "add a comment to the definition, or a line to docs/columns.toml"
    assert generate.needless_notes() == [], "delete these lines of docs/columns.toml"


def test_every_error_is_documented_with_a_sentence(generate: ModuleType) -> None:
    page = text(DOCS / "reference" / "errors.md")
    for name, kind in generate.classes().items():
        assert f"## {name}\n" in page
        assert (kind.__doc__ or "").strip().partition("\n")[0].endswith("."), f"{name} says nothing"


_NOT_OF_A_FOLDER = {"The payload decodes to no time."}  # of a folder this is a warning, in other words


def refusals(generate: ModuleType) -> Iterator[str]:
    """Yield what the code says of a recording folder that it refuses or remarks on."""
    for message in generate.messages():
        of_results = message.module.endswith((".npy", ".suite2p", ".facts"))
        of_files = message.module.startswith("adamacs.modalities.imaging.reader.") and not of_results
        of_files |= message.module.startswith("adamacs.core.formats")
        of_names = message.module == "adamacs.core.tokens" and message.what.startswith(("The ", "A scan folder"))
        if (of_files and " " in message.what) or of_names:
            yield message.what
    for name in ("ingest/find.py", "ingest/walk.py", "ingest/plan.py", "modalities/imaging/plan/scan.py"):
        tree = ast.parse(text(generate.SOURCE / name))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            words = generate._words(ast.walk(function))
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                if isinstance(call.func, ast.Name) and call.func.id == "Problem" and len(call.args) > 1:
                    yield generate._said(call.args[1], words)


def fixed_part(message: str) -> str:
    """Return the longest piece of a message that is not filled in."""
    return max(re.split(r"…|<\w+>", message), key=len).strip(" .:,")


def test_every_refusal_of_a_folder_has_its_cure(generate: ModuleType) -> None:
    page = text(REFUSED)
    said = [message for message in refusals(generate) if message and message not in _NOT_OF_A_FOLDER]
    assert len(said) > 20
    assert [message for message in said if fixed_part(message) not in page] == []


_COMPLAINING = {
    "core/promises.py": ("_counts", "_gaps", "_header", "_rates", "_ends", "_clocks"),
    "analysis/certificate.py": ("outdated",),
}


def complaints(generate: ModuleType) -> Iterator[str]:
    """Yield what the code says of streams that do not agree, and of a certificate that is outdated."""
    for name, functions in _COMPLAINING.items():
        for function in ast.walk(ast.parse(text(generate.SOURCE / name))):
            if isinstance(function, ast.FunctionDef) and function.name in functions:
                formats = [node.format_spec for node in ast.walk(function) if isinstance(node, ast.FormattedValue)]
                for node in ast.walk(function):
                    if isinstance(node, ast.JoinedStr) and node not in formats:
                        yield generate._said(node, {})


def test_every_complaint_of_a_certificate_is_explained(generate: ModuleType) -> None:
    page = text(DOCS / "how-to" / "failed-certificate.md")
    said = [fixed_part(message) for message in complaints(generate)]
    assert len(said) > 12
    assert [words for words in said if words not in page] == []


# ---- dependencies and decisions


def test_every_dependency_has_its_reason_and_every_reason_its_dependency() -> None:
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    for extra in config["options.extras_require"].values():
        lines += extra.split("\n")
    wanted = {re.split(r"[<>=;~ ]", line, maxsplit=1)[0] for line in lines if line.strip()}
    page = text(DECISIONS / "dependencies.md").partition("## Consequences")[0]
    told = set(re.findall(r"`([A-Za-z][\w.\[\]-]*)`", page)) - {"setup.cfg", "constraints.txt", "make", "pose"}
    extras = set(config["options.extras_require"])
    assert wanted <= told
    assert told - wanted - extras == set()


def test_every_decision_is_written_down_and_listed() -> None:
    listed = set(re.findall(r"\]\(([\w-]+)\.md\)", text(DECISIONS / "index.md")))
    written = {page.stem for page in DECISIONS.glob("*.md")} - {"index"}
    assert set(_DECIDED) == written == listed


@pytest.mark.parametrize("name", sorted(_DECIDED))
def test_a_decision_says_context_decision_and_consequences(name: str) -> None:
    page = text(DECISIONS / f"{name}.md")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(_SECTIONS)
    assert all(len(part.split()) >= 12 for part in re.split(r"^## .+$", page, flags=re.MULTILINE)[1:])
    assert _DECIDED[name] in page


_CHANGES_NOTHING = {
    "db status",
    "db url",
    "explain",
    "ingest log",
    "ingest plan",
    "jobs list",
    "jobs show",
    "paramset list",
    "parse",
    "profile list",
    "profile show",
    "quarantine list",
    "setups check",
    "setups list",
    "setups show",
    "status",
    "sync",
    "validate",
    "workers",
    "why",
}


def test_every_verb_that_changes_something_asks_or_the_decision_says_why_not() -> None:
    told = set(re.findall(r"`([a-z ]+)`", text(DECISIONS / "plans.md")))
    for path, command in commands().items():
        asks = any("--yes" in option.opts for option in command.params)
        verb = path.removeprefix("adamacs ")
        if not (asks or isinstance(command, click.Group) or verb in _CHANGES_NOTHING):
            assert verb in told, f"{verb} neither asks nor stands in decisions/plans.md"


def test_every_module_that_a_foreign_pickle_may_name_has_its_reason() -> None:
    page = text(DECISIONS / "foreign-pickles.md")
    assert [module for module in npy._ADMITTED if f"`{module}`" not in page] == []


def test_the_time_that_the_demo_takes_stands_among_the_benchmarks() -> None:
    row = re.compile(r"^\| demo: all of it, outside Suite2p, typed again \|.*\| \d+ s, \d+ s, \d+ s \|", re.MULTILINE)
    assert row.search(text(DOCS / "reference" / "benchmarks.md"))


# ---- what the documentation says exists


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_dead(page: Path) -> None:
    for match in _LINK.finditer(prose(page)):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), f"{match['target']}: no such file"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{match['target']}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_has_one_title_and_can_be_reached(page: Path) -> None:
    assert len(re.findall(r"^# ", _FENCE.sub("", text(page)), re.MULTILINE)) == 1
    if page != DOCS / "index.md":
        entry = re.compile(rf"^{re.escape(name_of(page).removesuffix('.md'))}$", re.MULTILINE)
        trees = [(index, body) for index, body in blocks("toctree")]
        entries = {str(Path(index).parent / line) for index, body in trees for line in body.splitlines()}
        assert any(entry.match(line) for line in entries), "in no toctree"


def test_the_pages_that_code_and_readme_name_exist() -> None:
    for path in [*(REPOSITORY / "adamacs").rglob("*.py"), REPOSITORY / "README.md", REPOSITORY / "Makefile"]:
        for name in re.findall(r"docs/[\w/-]+\.(?:md|py)", text(path)):
            assert (REPOSITORY / name).is_file(), f"{name} in {path.name}"


def test_python_examples_compile() -> None:
    examples = list(blocks("python"))
    assert len(examples) > 10
    for page, code in examples:
        compile(textwrap.dedent(code), page, "exec")


def test_python_examples_import_what_there_is() -> None:
    for page, code in blocks("python"):
        for node in ast.walk(ast.parse(textwrap.dedent(code))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adamacs"):
                source = REPOSITORY / (node.module or "").replace(".", "/")
                assert source.is_dir() or source.with_suffix(".py").is_file(), f"{node.module} in {page}"


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Yield (page, words) of every `$ adamacs ...` in an example."""
    for page, body in blocks("console"):
        for line in body.replace("\\\n", " ").splitlines():
            prompt, _, command = line.strip().partition(" ")
            if prompt == "$" and command.split(" ")[0].rpartition("/")[2] == "adamacs":
                yield page, shlex.split(command, comments=True)[1:]


def test_commands_in_examples_exist_with_their_options() -> None:
    known = commands()
    examples = list(command_lines())
    assert len(examples) > 20
    for page, words in examples:
        path = "adamacs"
        while words and f"{path} {words[0]}" in known:
            path = f"{path} {words.pop(0)}"
        options = {name for parameter in known[path].params for name in parameter.opts} | {"--help", "--version"}
        unknown = [word for word in words if word.startswith("-") and word not in options]
        assert not unknown, f"{page}: {path} has no {unknown}"
        assert not isinstance(known[path], click.Group) or path == "adamacs", f"{page}: {path} needs a verb"


def test_what_explain_says_in_examples_is_what_it_says() -> None:
    told = 0
    for _, body in blocks("console"):
        for said in re.finditer(r"^\$ adamacs explain (\S+)\n((?:[^$\n].*\n)+)", body, re.MULTILINE):
            assert tokens.explain(said[1]) == said[2].strip()
            told += 1
    assert told


_OTHER_TOML = ("how-to/add-a-setup", "how-to/parameter", "how-to/profiles", "reference/setup-types", "tutorials/")


def test_settings_in_examples_exist() -> None:
    known = {name for name, *_ in settings.documented()}
    for page, body in blocks("toml"):
        section = ""
        for line in body.splitlines():
            if match := re.match(r"\[([\w.]+)\]", line):
                section = re.sub(r"^(shares|stores|roles)\.\w+$", r"\1.<name>", match[1]) + "."
            elif match := re.match(r"(\w+)\s*=", line):
                if page.startswith(_OTHER_TOML):
                    continue  # parameter sets of Suite2p; files that tests of their own readers read
                assert section + match[1] in known, f"{section}{match[1]} in {page}"


def test_no_mermaid_block_is_empty_and_each_begins_with_a_kind_of_drawing() -> None:
    drawings = list(blocks("mermaid"))
    assert len(drawings) >= 5
    for page, body in drawings:
        lines = [line for line in body.splitlines() if line.strip()]
        assert re.match(r"(flowchart|erDiagram|sequenceDiagram|stateDiagram)", lines[0]), page
        assert len(lines) > 3, f"an empty drawing in {page}"


# ---- what the issue asks of the architecture page


def test_the_architecture_page_holds_roles_setups_loop_grammar_and_boundaries() -> None:
    page = text(DOCS / "explanations" / "architecture.md")
    assert all(f"`{role}_SERVER`" in page for role in ("MAIN", "GPU", "BACKUP"))
    for setup in ("mini2p1", "mini2p2", "bench2p1", "aux1", "aux2", "behavior1", "behavior2"):
        assert f"| `{setup}` | PC {setup} controller |" in page
    drawing = next(body for name, body in blocks("mermaid") if name == "explanations/architecture.md")
    assert re.search(r"evaluate -.*-> S3", drawing), "the closed loop ends at bench2p1"
    assert all(who in page for who in ("those who ingest", "workers", "those who analyse", "the backup server"))
    assert "<INITIALS>_<ANIMALID>_<YYYY-MM-DD>_sess<PAYLOAD>/scan<PAYLOAD>/" in page


def test_the_page_of_workers_names_every_table_that_a_worker_fills(generate: ModuleType) -> None:
    page = text(DOCS / "explanations" / "worker_population.md")
    drawing = next(body for name, body in blocks("mermaid") if name == "explanations/worker_population.md")
    for modality in generate.pipeline.modalities():
        for role, tables in modality.fills.items():
            assert f"| `{role}` |" in page
            assert [name for name in tables if f"`{modality.name}.{name}`" not in page] == []
            assert [name for name in tables if f'["{modality.name}.{name}"]' not in drawing] == []
    assert re.search(r"models -.* setups$", drawing, re.MULTILINE), "the loop leads back to the setups"
    assert "imaging_Processing --> imaging_Curation" in drawing, "what people look at, and curate"


def test_the_page_of_workers_is_stale_when_a_table_changes_its_demands(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate.pipeline.imaging.Fluorescence, "batch", 50, raising=False)
    assert "explanations/worker_population.md" in generate.stale()


def test_the_pages_name_no_machine_and_no_registry() -> None:
    private = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
    for page in PAGES:
        found = [address for address in private.findall(text(page)) if not address.startswith("127.")]
        assert found == [], f"{found} in {name_of(page)}"

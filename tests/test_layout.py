# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in which folder, and who imports whom: read from the sources, nothing is imported."""

import ast
import glob
import io
import os
import re
import tokenize

import pytest

GIVEN = [
    "__init__.py",
    "config.py",
    "device_adapter.py",
    "local_adapter.py",
    "moxing_adapter.py",
    "options.py",
    "util.py",
]
FACADE = "src.model.SRFlow"


def python_files(repo, *patterns):
    """{path from the repository's root: source}."""
    found = {}
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(repo, pattern), recursive=True)):
            with open(path, encoding="utf-8") as file:
                found[os.path.relpath(path, repo).replace(os.sep, "/")] = file.read()
    assert found
    return found


def imported(source, modules):
    """{module of ours: names that are taken from it} of a file, wherever in it the import stands."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.name, set())
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in modules:
                    found.setdefault(inner, set())
                else:
                    found.setdefault(node.module, set()).add(alias.name)
    return {module: names for module, names in found.items() if module.split(".")[0] == "src"}


def module_of(path):
    name = path[: -len(".py")].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


@pytest.fixture(name="imports", scope="module")
def fixture_imports(repo):
    """{path: {module of ours: names}} of all that is in src."""
    sources = python_files(repo, "src/**/*.py")
    modules = {module_of(path) for path in sources}
    found = {path: imported(source, modules) for path, source in sources.items()}
    for path, taken in found.items():
        assert set(taken) <= modules, path
    return found


def folder_of(module, folders):
    """The folder that a module is in, or is, with what lies in it; those on the ground floor are in `src`."""
    folder = module if module in folders else module.rsplit(".", 1)[0]
    return ".".join(folder.split(".")[:2])


def test_model_utils_holds_what_is_given_and_nothing_else(repo):
    assert (
        sorted(
            os.path.basename(path)
            for path in glob.glob(os.path.join(repo, "src", "model_utils", "*"))
            if os.path.basename(path) != "__pycache__"
        )
        == GIVEN
    )


def test_no_two_folders_import_each_other(imports):
    """Nor three in a ring: one after the other, all can be taken away that import none of those that are left."""
    folders = {module_of(path) for path in imports if path.endswith("/__init__.py")}
    graph = {folder: set() for folder in folders if folder.count(".") < 2}
    for path, taken in imports.items():
        own = folder_of(module_of(path), folders)
        graph[own] |= {folder_of(module, folders) for module in taken} - {own}
    assert graph["src"] == set()  # the ground floor
    while True:
        free = {folder for folder, others in graph.items() if not others}
        if not free:
            break
        graph = {folder: others - free for folder, others in graph.items() if folder not in free}
    assert graph == {}


def test_the_definition_knows_of_no_arrangement(imports):
    """One module chooses between the two, and training knows of the stacks that it joins."""
    users = {path for path, taken in imports.items() if any(module.startswith("src.model.cpu") for module in taken)}
    assert {path for path in users if not path.startswith("src/model/cpu/")} == {
        "src/model/implementation.py",
        "src/training/train_step.py",
    }


def test_nobody_takes_a_helper_from_the_class_that_people_use(imports):
    for path, taken in imports.items():
        assert taken.get(FACADE, set()) <= {"SRFlow"}, path


def comment_lines(source):
    return {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }


def unexplained(source):
    """Lines of the imports inside functions without a comment, which may be that of the import above."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.Lambda))]
    lines = sorted(
        {
            node.lineno
            for function in functions
            for node in ast.walk(function)
            if isinstance(node, (ast.Import, ast.ImportFrom))
        }
    )
    explained, found, lines_of_text = comment_lines(source), [], source.splitlines()
    for line in lines:
        before = next((number for number in range(line - 1, 0, -1) if lines_of_text[number - 1].strip()), 0)
        if line in explained or before in explained:
            explained.add(line)
        else:
            found.append(line)
    return found


def test_imports_inside_functions_say_why(repo):
    for path, source in python_files(repo, "src/**/*.py", "*.py", "scripts/*.py", "benchmarks/*.py").items():
        assert unexplained(source) == [], path


def test_unexplained_imports_are_found():
    source = (
        "import a\n\n\ndef f():\n    # why\n    import b\n    import c\n    b.d()\n    import e\n\n\n"
        "def g():\n    from f import g  # why\n    if g:\n        import h\n"
    )
    assert unexplained(source) == [9, 15]


def test_every_file_has_its_place_in_the_docs(repo):
    """A name without a folder is in that of the one before it; packages' own files need no line."""
    with open(os.path.join(repo, "docs", "files.md"), encoding="utf-8") as file:
        rows = [line.split("|")[1] for line in file if re.match(r"\| `[\w/]+\.(py|sh|yml)`", line)]
    listed, folder = [], ""
    for row in rows:
        for path in re.findall(r"`([^`]+)`", row):
            folder = os.path.dirname(path) if "/" in path or path == re.search(r"`([^`]+)`", row).group(1) else folder
            listed.append("/".join(filter(None, (folder, os.path.basename(path)))))
    assert sorted(set(listed)) == sorted(listed)
    assert [path for path in listed if not os.path.isfile(os.path.join(repo, path))] == []
    there = python_files(
        repo, "*.py", "src/**/*.py", "benchmarks/*.py", "scripts/*.py", "scripts/*.sh", "*.yml", "configs/*.yml"
    )
    assert [path for path in there if path not in listed and not path.endswith("__init__.py")] == []

# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents and the comments refer to is there. Nothing is imported from src."""

import os
import re
import subprocess

import pytest

DOCUMENTS = ["README.md", "README_CN.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/mindspore-1.7.md"]
CODE_SUFFIXES = (".py", ".sh", ".md", ".toml", ".txt", ".yml", ".yaml")
CITATION = re.compile(r"docs/mindspore-1\.7\.md, (\d+)((?: and \d+|, \d+)*)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def read(repo, path):
    with open(os.path.join(repo, path), encoding="utf-8") as file:
        return file.read()


def own_files(repo):
    """Paths of what git keeps, or would, without binary files; of a copy without git all but hidden folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=repo, capture_output=True, check=True).stdout.decode().splitlines()
    except (OSError, subprocess.CalledProcessError):
        listed = []
        for folder, folders, files in os.walk(repo):
            folders[:] = [name for name in folders if not name.startswith(".")]
            listed += [os.path.relpath(os.path.join(folder, name), repo) for name in files]
    return [path for path in listed if path.endswith(CODE_SUFFIXES) and os.path.isfile(os.path.join(repo, path))]


def cited(text):
    """Numbers of docs/mindspore-1.7.md that a text names, which a comment may break into lines."""
    flat = re.sub(r"\s*\n\s*(?:#\s*)?", " ", text)
    return [int(number) for found in CITATION.finditer(flat) for number in re.findall(r"\d+", found[1] + found[2])]


def links(text):
    """Relative targets of a Markdown text's links and pictures, code aside, without their anchors."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`(?!\])", "", text)
    found = [first or second for first, second in LINK.findall(text)]
    return [target.split("#")[0] for target in found if not re.match(r"[a-z]+:|#", target)]


def numbered(text):
    return [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]


def test_numbers_of_the_entries_are_1_2_3(repo):
    numbers = numbered(read(repo, "docs/mindspore-1.7.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_cited_entries_are_there(repo):
    numbers, found = set(numbered(read(repo, "docs/mindspore-1.7.md"))), []
    for path in own_files(repo):
        if os.path.basename(path) != os.path.basename(__file__):
            found += [(path, number) for number in cited(read(repo, path))]
    assert found and [(path, number) for path, number in found if number not in numbers] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(repo, document):
    folder = os.path.join(repo, os.path.dirname(document))
    assert [target for target in links(read(repo, document)) if not os.path.exists(os.path.join(folder, target))] == []


def test_lint_is_of_the_same_versions_everywhere(repo):
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", read(repo, "requirements_lint.txt"), re.MULTILINE))
    hooks = re.findall(r"repo: \S+/([\w-]+)\n    rev: v(\S+)", read(repo, ".pre-commit-config.yaml"))
    assert {name.replace("-pre-commit", ""): version for name, version in hooks} == pinned


def test_citations_and_links_are_found():
    assert cited("x  # so (docs/mindspore-1.7.md, 3)") == [3]
    assert cited("    # because of what is there (docs/mindspore-1.7.md,\n    # 12 and 14).") == [12, 14]
    assert cited("docs/mindspore-1.7.md says why") == []
    text = "[a](b.md) `[c](d.md)` [e](f/g.md#h) [i](https://j) [k](#l) [`m`](n.md)\n```\n[o](p.md)\n```\n"
    assert links(text + '<img src="q.png">') == ["b.md", "f/g.md", "n.md", "q.png"]

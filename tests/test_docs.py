# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents and the comments refer to is there, and their commands can be typed. None of them is run."""

import contextlib
import io
import os
import re
import shlex
import subprocess

from src.model_utils.config import _make_parser, _overrides
from src.model_utils.options import OptionsError, all_keys, load_options

CODE_SUFFIXES = (".py", ".sh", ".md", ".toml", ".txt", ".yml", ".yaml")
CITATION = re.compile(r"docs/mindspore-1\.7\.md, (\d+)((?: and \d+|, \d+)*)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
README_LIMIT = 9000  # bytes: what does not fit is for the pages in docs/
PROGRAMS = {"train.py": "train", "eval.py": "eval", "train2test.py": "train2test"}
HANDED_ON = {  # scripts that hand on what they do not know: to which program
    "scripts/run_distribute_train_gpu.sh": "train.py",
    "scripts/super_resolve.sh": "eval.py",
    "scripts/run_standalone_eval_gpu.sh": "eval.py",
    "scripts/run_standalone_train_gpu.sh": "train.py",
}
PLACEHOLDER = re.compile(r"\.\.\.|…|\[|\]|^CFG$")


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


def documents(repo):
    return [path for path in own_files(repo) if path.endswith(".md")]


def without_code(text):
    return re.sub(r"`[^`\n]*`(?!\])", "", FENCED.sub("", text))


def links(text):
    """Targets of a Markdown text's links and pictures that are not addresses on the net, code aside."""
    found = [first or second for first, second in LINK.findall(without_code(text))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text):
    """The anchors of a Markdown text's headings, as GitHub makes them."""
    found = []
    for heading in re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return found


def dead(repo, document):
    """The links of a document whose file or anchor is not there."""
    found = []
    for target in links(read(repo, document)):
        file, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(document), file)) if file else document
        if not os.path.exists(os.path.join(repo, path)) or (anchor and anchor not in anchors(read(repo, path))):
            found.append(target)
    return found


def commands(text):
    """The commands that call Python files or scripts of ours, as lists of words: of bash blocks, and inline."""
    lines = [content.replace("\\\n", " ") for kind, content in FENCED.findall(text) if kind == "bash"]
    lines += [code for code in INLINE.findall(FENCED.sub("", text)) if code.startswith(("python ", "bash "))]
    found = []
    for line in "\n".join(lines).splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            if re.match(r"python (-m src\.|\S+\.py)|bash \S+\.sh", " ".join(command)):
                found.append(command)
    return found


def script_of(command):
    """(path of the file that a command runs, the words after it)."""
    if command[1] == "-m":
        return command[2].replace(".", "/") + ".py", command[3:]
    return command[1], command[2:]


def problem(repo, command):
    """What is wrong with a command, or None."""
    script, words = script_of(command)
    if not os.path.isfile(os.path.join(repo, script)):
        return f"{script}: no such file"
    if script in PROGRAMS and not any(PLACEHOLDER.search(word) for word in words):
        return refused(repo, PROGRAMS[script], words)
    known = known_flags(repo, script) | (known_flags(repo, HANDED_ON[script]) if script in HANDED_ON else set())
    flags = [word.strip("[]") for word in words if word.strip("[").startswith("--")]
    keys = [word.partition("=")[0] for word in words if re.match(r"\w+(\.\w+)*=", word)]
    if script == "scripts/run_tests.sh":
        keys = []  # pytest's
    wrong = [flag for flag in flags if flag not in known] + [key for key in keys if key not in all_keys()]
    return f"{script}: does not know {', '.join(wrong)}" if wrong else None


def refused(repo, kind, words):
    """What a program's parser, or the check of its options, says against its arguments, or None."""
    complaint = io.StringIO()
    with contextlib.redirect_stderr(complaint):
        try:
            args = _make_parser(kind).parse_args(words)
            load_options(os.path.join(repo, args.opt), _overrides(args, kind))
        except SystemExit:
            return complaint.getvalue().splitlines()[-1]
        except OptionsError as error:
            return str(error)
    return None


def known_flags(repo, script):
    """The flags of a program's parser, or those that a script's text has."""
    if script in PROGRAMS:
        return {flag for action in _make_parser(PROGRAMS[script])._actions for flag in action.option_strings}
    return set(re.findall(r"--\w[\w-]*", read(repo, script)))


def outline(text):
    """What two READMEs of different languages have in common, piece by piece."""
    plain = FENCED.sub("", text)
    blocks = [
        (kind, [re.sub(r"(^|\s+)#.*$", "", line) for line in content.splitlines()])
        for kind, content in FENCED.findall(text)
    ]
    tables = re.findall(r"(?:^\|.*\|\n)+", plain, re.MULTILINE)
    return {
        "sections": [len(marks) for marks in re.findall(r"^(#+) ", plain, re.MULTILINE)],
        "tables": [[len(re.split(r"(?<!\\)\|", row)) - 2 for row in table.splitlines()] for table in tables],
        "code": blocks,
        "links": sorted(target for target in LINK.findall(text) if not re.match(r"README(_CN)?\.md$", target[0])),
    }


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


def test_links_lead_somewhere(repo):
    assert [(document, dead(repo, document)) for document in documents(repo) if dead(repo, document)] == []


def test_commands_can_be_typed(repo):
    found = {document: commands(read(repo, document)) for document in documents(repo)}
    assert min(len(found[name]) for name in ("README.md", "docs/training.md", "docs/evaluation.md")) > 5
    wrong = [(document, problem(repo, command)) for document, listed in found.items() for command in listed]
    assert [pair for pair in wrong if pair[1]] == []


def test_flags_and_keys_in_the_text_are_known(repo):
    scripts = [path for path in own_files(repo) if path.endswith((".py", ".sh")) and not path.startswith("tests/test_")]
    flags = set().union(*(known_flags(repo, script) for script in scripts))
    sections = ("datasets.", "network_G.", "path.", "train.")
    known = {key[:end] for key in all_keys() for end in [*(dot.start() for dot in re.finditer(r"\.", key)), None]}
    for document in documents(repo):
        codes = INLINE.findall(FENCED.sub("", read(repo, document)))
        assert [code for code in codes if code.startswith("--") and code.split()[0] not in flags] == [], document
        keys = [re.split(r"[:=]", code)[0] for code in codes if re.match(r"[\w.]+($|[:=])", code)]
        keys = [key for key in keys if key.startswith(sections) and not key.endswith((".py", ".csv"))]
        assert [key for key in keys if key not in known] == [], document


def test_the_readmes_say_the_same(repo):
    english, chinese = outline(read(repo, "README.md")), outline(read(repo, "README_CN.md"))
    for part, content in english.items():
        assert content, part
        assert chinese[part] == content, part


def test_the_readme_is_short(repo):
    assert len(read(repo, "README.md").encode()) <= README_LIMIT


def test_lint_is_of_the_same_versions_everywhere(repo):
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", read(repo, "requirements_lint.txt"), re.MULTILINE))
    hooks = re.findall(r"repo: \S+/([\w-]+)\n    rev: v(\S+)", read(repo, ".pre-commit-config.yaml"))
    assert {name.replace("-pre-commit", ""): version for name, version in hooks} == pinned


def test_citations_and_links_are_found():
    assert cited("x  # so (docs/mindspore-1.7.md, 3)") == [3]
    assert cited("    # because of what is there (docs/mindspore-1.7.md,\n    # 12 and 14).") == [12, 14]
    assert cited("docs/mindspore-1.7.md says why") == []
    text = "[a](b.md) `[c](d.md)` [e](f/g.md#h) [i](https://j) [k](#l) [`m`](n.md)\n```\n[o](p.md)\n```\n"
    assert links(text + '<img src="q.png">') == ["b.md", "f/g.md#h", "#l", "n.md", "q.png"]
    assert anchors("# A b\n## `.c`, D's e-f\n```\n# g\n```\n## A b\n") == ["a-b", "c-ds-e-f", "a-b-1"]


def test_commands_are_found_and_looked_up(repo):
    text = "```bash\nsource a && python eval.py --opt b.yml \\\n    --heat 1  # c\n```\n"
    text += "`bash scripts/d.sh` `python3 e.py` `python f`\n"
    assert commands(text) == [["python", "eval.py", "--opt", "b.yml", "--heat", "1"], ["bash", "scripts/d.sh"]]
    for line, expected in (
        ("python eval.py --opt SRFlow_DF2K_4X.yml --heat 0.5 --set train.niter=10", None),
        ("python eval.py --opt SRFlow_DF2K_4X.yml --hot 1", "error: unrecognized arguments: --hot 1"),
        ("python train.py --opt SRFlow_DF2K_4X.yml --set train.steps=1", "train.steps: unknown key"),
        ("python train.py --opt nothing.yml", "nothing.yml"),
        ("python train2test.py --opt SRFlow_DF2K_4X.yml", "required: --train_path, --test_path"),
        ("python -m src.dataloader.prepare --hr_dir a --output b", "prepare.py: does not know --output"),
        ("python benchmarks/run.py [--only CASE ...] [--jason FILE]", "run.py: does not know --jason"),
        ("python eval.py --opt CFG --heat 0.5", None),
        ("python eval.py --opt CFG --hot 0.5", "eval.py: does not know --hot"),
        ("bash scripts/run_standalone_eval_gpu.sh a.yml 0 --ckpt b", None),
        ("bash scripts/run_standalone_eval_gpu.sh a.yml 0 --chkpt b", "does not know --chkpt"),
        ("bash scripts/run_quickstart.sh a train.nitre=1", "does not know train.nitre"),
        ("bash scripts/nothing.sh", "scripts/nothing.sh: no such file"),
    ):
        found = problem(repo, line.split())
        assert found is None if expected is None else expected in found


def test_differences_of_readmes_are_found():
    text = "# A\n## B\n| a | b |\n|---|---|\n| c | d |\n```bash\nx  # y\n```\n[e](f.md)\n"
    same = "# Z\n## Y\n| a | b |\n|---|---|\n| u | t |\n```bash\nx  # w\n```\n[v](f.md)\n"
    assert outline(text) == outline(same)
    for old, new in (("## B", "### B"), ("| c | d |", "| c |"), ("x  #", "z  #"), ("f.md", "g.md")):
        assert outline(text.replace(old, new)) != outline(text)

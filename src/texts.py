# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Texts from files and their names, in a form that a terminal can show."""


def printable(text):
    r"""Return a text, such as a file's name, in a form that any terminal and any reader of CSV and JSON takes.

    Bytes that are not UTF-8 become `\xe9` and the like.
    """
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def first_few(texts, count=3):
    """Join the first of some texts in one line, each cut to 120 characters.

    The line has a bounded length even where the texts come from somebody's file.
    """
    shown = [" ".join(text.split())[:120] for text in list(texts)[:count]]
    return ", ".join(shown + ["…"] * (len(texts) > count))

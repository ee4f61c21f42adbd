# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Texts that come from files and their names, as a terminal can show them."""


def printable(text):
    r"""Text with names of files as any terminal and any reader of CSV and JSON takes it.

    Bytes that are not UTF-8 become `\xe9` and the like.
    """
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def first_few(texts, count=3):
    """The first of some texts in one line, of bounded length even where they come from somebody's file."""
    shown = [" ".join(text.split())[:120] for text in list(texts)[:count]]
    return ", ".join(shown + ["…"] * (len(texts) > count))

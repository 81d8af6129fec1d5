# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets, steps, specifications and files."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step, diff, plain


def test_a_secret_does_not_show() -> None:
    secret = Secret(b"hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>5}", "%s" % secret, repr([secret]), repr({"a": secret})]  # noqa: UP031
    assert not [text for text in shown if "hunter2" in text]
    assert all("***" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(AttributeError):
        secret.__dict__  # noqa: B018


def test_secrets_compare_by_value_and_not_with_text() -> None:
    assert Secret(b"a") == Secret(b"a")
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != b"a"
    assert len({Secret(b"a"), Secret(b"a"), Secret(b"b")}) == 2


def test_a_secret_from_a_parameter() -> None:
    assert Secret.from_param(None) is None
    assert Secret.from_param("grün") == Secret("grün".encode())
    assert Secret.from_param("AP8=", "base64") == Secret(b"\x00\xff")
    with pytest.raises(RootOfTrustError) as caught:
        Secret.from_param("hunter2!", "base64")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_diff_takes_the_first_before_and_the_last_after() -> None:
    steps = [
        Step("k", "a", "", {"size": 1024}, {"size": None}),
        Step("k", "b", "", {"size": None, "mode": "0644"}, {"size": 3072, "mode": "0600"}),
        Step("l", "c", "", {}, {"label": Secret(b"x")}),
    ]
    assert diff(steps) == {
        "before": {"k": {"size": 1024, "mode": "0644"}},
        "after": {"k": {"size": 3072, "mode": "0600"}, "l": {"label": "***"}},
    }


def test_text_that_was_no_utf_8_can_be_told() -> None:
    """As the user ID of an old key may be: Ansible refuses a result that has a surrogate in it."""
    latin = b"J\xf6rg \xc3\xb6".decode("utf-8", "surrogateescape")
    assert plain({latin: [latin, {latin}, Path(latin)]}) == {"J\ufffdrg ö": ["J\ufffdrg ö", ["J\ufffdrg ö"], "J\ufffdrg ö"]}
    json.dumps(diff([Step(latin, "", latin, {latin: latin}, {latin: latin})]), ensure_ascii=False).encode("utf-8")


def test_plain_values() -> None:
    assert plain({"a": {3, 1}, "b": (Secret(b"x"), Path("/dev/null")), 4: None}) == {"a": [1, 3], "b": ["***", "/dev/null"], "4": None}


def test_specifications_merge_unless_they_overlap() -> None:
    both = Spec({"a": {"type": "str"}}, required_one_of=(("a",),)).merge(Spec({"b": {"type": "int"}}, mutually_exclusive=(("b", "c"),)))
    assert sorted(both.options) == ["a", "b"]
    assert (both.required_one_of, both.mutually_exclusive) == ((("a",),), (("b", "c"),))
    with pytest.raises(ValueError, match="a"):
        both.merge(Spec({"a": {}}))


def test_one_object_or_many() -> None:
    options = {"path": {"type": "path"}, "mode": {"type": "str", "default": "0600"}}
    spec = one_or_many("files", "path", options)
    assert spec.options["files"]["options"]["path"]["required"] is True
    assert "required" not in spec.options["path"]
    assert objects({"files": None, "path": "/a", "mode": "0600"}, "files", options) == [{"path": "/a", "mode": "0600"}]
    assert objects({"files": [{"path": "/b", "mode": "0"}], "path": None}, "files", options) == [{"path": "/b", "mode": "0"}]


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(path)
    atomic_write(str(link), b"new", 0o640, (os.getuid(), os.getgid()))
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["f", "link"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write(str(path), b"new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    with pytest.raises(FileNotFoundError):
        atomic_write(str(tmp_path / "missing/f"), b"new", 0o600)

# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are really started, through a real AnsibleModule."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import ToolFailed, ToolMissing
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner, memory_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

SECRET = Secret(b"correct horse\n\x00battery")


@pytest.fixture
def runner() -> Iterator[Runner]:
    with patch_module_args({}):
        yield Runner(AnsibleModule(argument_spec={}))


def test_output_status_and_input_are_bytes(runner: Runner) -> None:
    done = runner.run(["sh", "-c", "cat; printf '\\377' >&2; exit 3"], stdin=b"\x00\xfe", ok=(3,))
    assert (done.rc, done.stdout, done.stderr) == (3, b"\x00\xfe", b"\xff")


def test_nothing_is_expanded(runner: Runner) -> None:
    assert runner.run(["echo", "$HOME", "~", "*"]).text == "$HOME ~ *\n"


def test_the_locale_is_c(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert runner.run(["sh", "-c", "echo $LC_ALL $EXTRA"], environment={"EXTRA": "x"}).text == "C x\n"


def test_an_unexpected_status_is_an_error_that_names_the_program(runner: Runner) -> None:
    with pytest.raises(ToolFailed, match=r"^sh ended with exit status 7: last line") as caught:
        runner.run(["sh", "-c", "echo first >&2; echo last line >&2; exit 7"])
    assert caught.value.facts == {"rc": 7, "stderr": "first\nlast line"}
    assert runner.run(["false"], ok=None).rc == 1


def test_a_missing_program_is_said(runner: Runner) -> None:
    with pytest.raises(ToolMissing, match="no-such-program is not installed"):
        runner.run(["no-such-program"])
    assert runner.find("no-such-program") is None


def test_a_program_that_hangs_is_ended(runner: Runner) -> None:
    with pytest.raises(ToolFailed, match=r"did not end within 0\.2 s"):
        runner.run(["sleep", "60"], timeout=0.2)


def test_a_secret_goes_by_stdin(runner: Runner) -> None:
    assert runner.run(["cat"], stdin=SECRET).stdout == SECRET.reveal()


def test_a_secret_goes_by_an_inherited_descriptor(runner: Runner) -> None:
    with runner.secret_fd(SECRET) as descriptor:
        assert runner.run(["cat", f"/dev/fd/{descriptor}"], pass_fds=[descriptor]).stdout == SECRET.reveal()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    with pytest.raises(ValueError, match="64 KiB"), runner.secret_fd(Secret(bytes(65537))):
        pass


def test_a_secret_goes_by_a_file_in_memory_that_is_gone_afterwards(runner: Runner) -> None:
    with pytest.raises(KeyboardInterrupt), runner.secret_file(SECRET) as path:
        assert runner.run(["cat", path]).stdout == SECRET.reveal()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert runner.run(["stat", "-f", "-c", "%T", path]).text == "tmpfs\n"
        raise KeyboardInterrupt
    assert not Path(path).exists()


def test_a_secret_is_refused_where_others_can_read_it(runner: Runner) -> None:
    with pytest.raises(TypeError, match="an argument of cat is a Secret"):
        runner.run(["cat", SECRET])  # type: ignore[list-item]  # the mistake under test
    with pytest.raises(TypeError, match="the environment of cat is a Secret"):
        runner.run(["cat"], environment={"PASSWORD": SECRET})  # type: ignore[dict-item]  # the mistake under test
    with pytest.raises(TypeError, match="an argument of cat contains the secret"):
        runner.run(["cat", "--key=hunter2"], stdin=Secret(b"hunter2"))


def test_no_folder_in_memory_is_an_error_not_a_disk(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/vda / ext4 rw 0 0\n", encoding="utf-8")
    with pytest.raises(ToolFailed, match="tmpfs"):
        memory_folder(str(mounts))
    mounts.write_text("tmpfs /run tmpfs rw 0 0\n", encoding="utf-8")
    assert memory_folder(str(mounts)) == "/run"


def test_a_secret_in_memory_can_be_read_again_and_has_no_name(runner: Runner) -> None:
    with runner.secret_memory(SECRET) as descriptor:
        path = f"/dev/fd/{descriptor}"
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        done = runner.run(["sh", "-c", f"tail -c +1 {path}; cat {path}; readlink {path}"], pass_fds=(descriptor,))
        assert done.stdout == 2 * SECRET.reveal() + b"/memfd:rootoftrust (deleted)\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_folder_of_secrets_has_nothing_in_it_but_links_and_is_gone(runner: Runner) -> None:
    with runner.secret_folder({"pin": Secret(b"1234"), "other": SECRET}) as (folder, descriptors):
        assert all(os.path.islink(os.path.join(folder, name)) for name in ("pin", "other"))
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        done = runner.run(["sh", "-c", "cat $D/pin $D/other"], environment={"D": folder}, pass_fds=descriptors)
        assert done.stdout == b"1234" + SECRET.reveal()
        # A cut at this moment leaves links that lead nowhere once their process has ended.
        assert runner.run(["cat", f"{folder}/pin"], ok=None).stdout == b""
    assert not os.path.exists(folder)

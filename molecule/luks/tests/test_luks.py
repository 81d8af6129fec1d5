# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: every file is there, on volumes opened with nobody there. Read with plain tools, not with the collection's modules."""

from __future__ import annotations

import pytest
from testinfra.host import Host


@pytest.fixture(autouse=True)
def machine(host: Host) -> None:
    if host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container, which has no device-mapper: nothing can be encrypted in it")


def below(host: Host, mapping: str) -> str:
    return host.check_output("cryptsetup status %s | awk '/device:/ {print $2}'", mapping)


@pytest.mark.parametrize(("mount", "mapping"), [("/home", "home"), ("/srv/data", "data")])
def test_it_is_mounted_from_the_open_volume(host: Host, mount: str, mapping: str) -> None:
    assert host.mount_point(mount).device == f"/dev/mapper/{mapping}"
    assert host.check_output("lsblk -no TYPE /dev/mapper/%s", mapping).split() == ["crypt"]


def test_every_file_is_as_it_was(host: Host) -> None:
    assert host.run("cd /home/files && sha256sum --quiet -c /home/SHA256SUMS").rc == 0
    assert int(host.check_output("wc -l < /home/SHA256SUMS")) > 30


@pytest.mark.parametrize("mapping", ["home", "data"])
def test_the_device_shows_nothing_but_luks(host: Host, mapping: str) -> None:
    device = below(host, mapping)
    assert host.check_output("blkid -p -s TYPE -o value %s", device) == "crypto_LUKS"
    offset = host.check_output("cryptsetup luksDump %s | awk '/offset:/ {print $2; exit}'", device)
    assert host.run(f"blkid -p --offset {offset} {device}").rc == 2, "something is seen where the encrypted data begin"


@pytest.mark.parametrize("mapping", ["home", "data"])
def test_the_key_file_opens_it_and_nobody_else_reads_it(host: Host, mapping: str) -> None:
    path = f"/etc/cryptsetup-keys.d/{mapping}.key"
    assert host.run("cryptsetup open --test-passphrase --key-file %s %s", path, below(host, mapping)).rc == 0
    assert (host.file(path).user, host.file(path).mode) == ("root", 0o400)


def test_the_first_passphrase_is_gone_where_it_was_not_to_be_kept(host: Host) -> None:
    opens = "printf 'a passphrase of the scenario for %s' | cryptsetup open --test-passphrase --key-file=- %s"
    assert host.run(opens % ("home", below(host, "home"))).rc == 2
    assert host.run(opens % ("data", below(host, "data"))).rc == 0


def test_fstab_names_a_uuid_and_keeps_the_options(host: Host) -> None:
    (line,) = [line.split() for line in host.file("/etc/fstab").content_string.splitlines() if line.split()[1:2] == ["/home"]]
    assert line[0] == "UUID=" + host.check_output("blkid -s UUID -o value /dev/mapper/home")
    assert set(line[3].split(",")) == {"nodev", "nofail", "x-systemd.device-timeout=90s", "x-systemd.before=local-fs.target"}


def test_swap_has_a_key_that_nobody_knows(host: Host) -> None:
    assert host.check_output("swapon --show=NAME --noheadings --raw").count("/dev/dm-") == 1
    assert host.check_output("dmsetup table swap --target crypt").split()[3:4] == ["aes-xts-plain64"]
    assert "CRYPT-PLAIN" in host.check_output("dmsetup info -c --noheadings -o uuid swap")
    assert host.run("cryptsetup isLuks %s", below(host, "swap")).rc == 1


@pytest.mark.parametrize("mapping", ["home", "data"])
def test_there_is_a_backup_of_the_header_as_it_is(host: Host, mapping: str) -> None:
    device = below(host, mapping)
    uuid = host.check_output("cryptsetup luksUUID %s", device)
    newest = host.check_output("ls -t /var/lib/rootoftrust/luks_headers/%s-*", uuid).split()[0]
    kept, there = (host.check_output("cryptsetup luksDump %s", path).replace(path, "") for path in (newest, device))
    assert kept == there

from __future__ import annotations

import os
from pathlib import Path

from engine.edge.machine_names import MachineNames, parse_hosts, parse_nameservers


def test_the_hosts_file_gives_all_addresses_of_a_name() -> None:
    hosts = parse_hosts(
        "192.0.2.1 carrier.example Carrier-Alias # the first\n"
        "2001:db8::1\tcarrier.example\n192.0.2.1 carrier.example\n"
        "\n# 192.0.2.9 comment.example\nnonsense other.example\n192.0.2.3\n"
    )
    assert hosts["carrier.example"] == ("192.0.2.1", "2001:db8::1")
    assert hosts["carrier-alias"] == ("192.0.2.1",)
    assert set(hosts) == {"carrier.example", "carrier-alias", "localhost"}


def test_localhost_is_known_without_a_hosts_file() -> None:
    assert parse_hosts("")["localhost"] == ("127.0.0.1", "::1")
    assert parse_hosts("127.0.0.1 localhost")["localhost"] == ("127.0.0.1",)


def test_the_first_three_name_servers_count() -> None:
    text = "search example\nnameserver 192.0.2.1 # one\nnameserver\n; nameserver 192.0.2.8\nnameserver 2001:db8::1\n"
    assert parse_nameservers(text) == (("192.0.2.1", 53), ("2001:db8::1", 53))
    assert len(parse_nameservers("nameserver 192.0.2.1\n" * 5)) == 3


def test_without_a_name_server_the_local_one_is_asked() -> None:
    assert parse_nameservers("nameserver dns.example\n") == (("127.0.0.1", 53),)


def test_changed_files_count_at_once(tmp_path: Path) -> None:
    hosts, resolv_conf = tmp_path / "hosts", tmp_path / "resolv.conf"
    names = MachineNames(hosts, resolv_conf)
    assert "a.example" not in names.hosts()
    hosts.write_text("192.0.2.1 a.example\n")
    resolv_conf.write_text("nameserver 192.0.2.53\n")
    assert names.hosts()["a.example"] == ("192.0.2.1",)
    assert names.nameservers() == (("192.0.2.53", 53),)
    replacement = tmp_path / "new"
    replacement.write_text("192.0.2.2 a.example\n")
    os.replace(replacement, hosts)
    assert names.hosts()["a.example"] == ("192.0.2.2",)
    hosts.unlink()
    assert "a.example" not in names.hosts()


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"\xff\xfe\x00 x\n192.0.2.1 a.example\n")
    names = MachineNames(tmp_path / "hosts", tmp_path / "hosts")
    assert names.hosts()["a.example"] == ("192.0.2.1",)

"""`python -m batchflow doctor`: what is told of a machine, and what is called a problem."""

import argparse
import json
import shutil

import pytest

from batchflow.__main__ import main
from batchflow.commands import doctor


def _named(what):
    return next(finding for finding in doctor.examine() if finding.what == what)


def test_the_report_names_versions_extras_memory_and_workers(capsys):
    assert main(["doctor"]) in (0, 1)
    told = capsys.readouterr().out
    for word in ("Python", "numpy", "extra processes", "CPUs", "shared memory", "workers"):
        assert f"\n{word}" in f"\n{told}"


def test_as_json_the_report_has_a_problem_or_null_for_each_finding(capsys):
    doctor.run(argparse.Namespace(json=True))
    findings = json.loads(capsys.readouterr().out)
    assert {"what", "text", "problem"} == set(findings[0])


def test_an_extra_that_is_not_installed_comes_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "zarr" else "1")
    assert "lacks zarr: pip install '.[zarr]'" in _named("extra zarr").text


def test_the_small_build_of_tensorflow_is_enough_for_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "tensorflow" else "1")
    assert _named("extra tensorflow").text == "installed"


def test_two_owners_of_the_import_name_are_a_problem(monkeypatch, tmp_path):
    other = tmp_path / "batchflow-0.10.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: batchflow\nVersion: 0.10.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = _named("batchflow").problem
    assert "batchflow 0.10.1" in problem
    assert "pip uninstall batchflow" in problem


def test_little_shared_memory_is_a_problem(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(doctor, "_SHARED", tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    assert "--shm-size" in _named("shared memory").problem


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/a/b/cpu.cfs_quota_us": "-1\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
        ({}, None),
    ],
)
def test_the_quota_of_cpus_is_the_least_of_the_groups(tmp_path, files, limit):
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    own = tmp_path / "own"
    own.write_text("3:cpu,cpuacct:/a/b\n0::/a/b\n")
    assert doctor.cpu_quota(tmp_path / "groups", own) == limit


def test_a_quota_below_the_cpus_is_a_problem_with_the_option(monkeypatch):
    monkeypatch.setattr(doctor, "cpu_count", lambda: 8)
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.5)
    assert "n_workers=2" in _named("CPUs").problem

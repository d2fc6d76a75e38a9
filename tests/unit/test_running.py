"""One stack on a state folder, and how other commands find it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.running import Running, adopt, announce, only_one, state_folder
from streams.errors import OperatorError

HERE = Running(os.getpid(), "127.0.0.1:4711", "redis://127.0.0.1:4712/0")


def test_a_second_stack_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with (
        only_one(tmp_path),
        pytest.raises(OperatorError, match=rf"pid {os.getpid()}.*{tmp_path}"),
        only_one(tmp_path),
    ):
        pass


def test_the_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with only_one(tmp_path):
            pass


def test_the_hold_of_a_killed_process_ends_with_it(tmp_path: Path) -> None:
    code = "import os, sys, pathlib; from infra.local.running import only_one\n"
    code += "with only_one(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    with only_one(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OperatorError, match="STREAMREC_STATE: cannot use"),
        only_one(tmp_path / "file" / "state"),
    ):
        pass


def test_other_commands_find_the_running_stack(tmp_path: Path) -> None:
    environ = {"STREAMREC_STATE": str(tmp_path)}
    with only_one(tmp_path):
        announce(tmp_path, HERE)
        adopt(environ)
    assert environ["STREAMREC_KAFKA"] == HERE.kafka
    assert environ["STREAMREC_REDIS"] == HERE.redis


def test_what_is_set_comes_before_the_running_stack(tmp_path: Path) -> None:
    environ = {"STREAMREC_STATE": str(tmp_path), "STREAMREC_KAFKA": "mine:1"}
    with only_one(tmp_path):
        announce(tmp_path, HERE)
        adopt(environ)
    assert environ["STREAMREC_KAFKA"] == "mine:1"


def test_what_a_killed_stack_left_behind_is_not_believed(tmp_path: Path) -> None:
    announce(tmp_path, HERE)
    environ = {"STREAMREC_STATE": str(tmp_path)}
    adopt(environ)
    assert "STREAMREC_KAFKA" not in environ


def test_without_a_setting_the_folder_is_the_platforms(tmp_path: Path) -> None:
    assert state_folder({}).name == "streamrec"
    assert state_folder({"STREAMREC_STATE": str(tmp_path)}) == tmp_path

"""The same command on a run that is finished: what is done anew, and what is not."""

import shutil

from tests.e2e.conftest import QUICK, arguments


def test_a_copied_data_root_is_done_and_what_changed_in_it_is_counted(shell, job, dataroot, tmp_path):
    assert shell("run", *job, *QUICK).code == 0
    copy = tmp_path / "copy"
    shutil.copytree(dataroot, copy, copy_function=shutil.copyfile)
    moved = arguments(copy, tmp_path / "run")
    assert shell("plan", *moved, "--json").json["todo"] == 0
    again = shell("run", *moved, *QUICK, "--json")
    assert (again.code, again.json["todo"]) == (0, 0)
    third = shell("run", *moved, *QUICK, "--json")
    assert "comparing files" in again.err
    assert "comparing files" not in third.err

    sweep = sorted((copy / "samples" / "LIDAR_TOP").iterdir())[0]
    content = bytearray(sweep.read_bytes())
    content[0] ^= 1
    sweep.write_bytes(content)
    plan = shell("plan", *moved, "--json")
    assert (plan.json["todo"], plan.json["changed"]) == (1, 1)
    told = "1 frame is labelled anew, as its sources changed since: LiDAR file (1, such as frame "
    assert told in plan.err
    assert sweep.name in plan.err
    result = shell("run", *moved, *QUICK, "--json")
    assert (result.code, result.json["labelled"]) == (0, 1)
    assert told in result.err
    assert shell("run", *moved, *QUICK, "--json").json["todo"] == 0

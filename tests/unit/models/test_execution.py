"""Where networks run: a CPU's memory is kept for the next tensors."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from labelgen.models.execution import select_device
x = torch.ones(12_000_000)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        x + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
plain = faults()
select_device("cpu", 1)
print(plain, min(faults() for _ in range(10)))  # now and then a small block lies in the way of one
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's malloc")
def test_large_tensors_take_the_memory_of_those_before_them():
    out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    plain, kept = map(int, out.split())
    assert kept < 100 < plain

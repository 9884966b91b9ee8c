"""The number of threads: limits from outside, limits set here, forks and many callers at once."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import threadpoolctl

import pysig
from pysig._core import threads
from pysig._core.cgroup import cpu_quota

needs_openmp = pytest.mark.skipif(not threads.has_openmp, reason="pysig is built without OpenMP")
needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def default_threads():
    yield
    pysig.set_num_threads(None)


def run_python(program, **environment):
    """Run the program in a fresh interpreter and return the lines it printed."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("OMP_")}
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


def with_openmp(number):
    """Return the expected number of threads, which is 1 in a build without OpenMP."""
    return str(number) if threads.has_openmp else "1"


def test_maximum_is_respected():
    default = pysig.get_num_threads()
    pysig.set_num_threads(1)
    assert pysig.get_num_threads() == 1
    pysig.set_num_threads(None)
    assert pysig.get_num_threads() == default


def test_result_is_an_int_and_set_returns_nothing():
    assert type(pysig.get_num_threads()) is int
    assert pysig.set_num_threads(np.int64(1)) is None
    assert pysig.get_num_threads() == 1


@pytest.mark.parametrize("n", [0, -1, np.int32(-3), -(2**70)])
def test_too_small(n):
    before = pysig.get_num_threads()
    with pytest.raises(ValueError, match=rf"n must be at least 1, or None .*, not {n}"):
        pysig.set_num_threads(n)
    assert pysig.get_num_threads() == before


@pytest.mark.parametrize(
    ("n", "name"),
    [(1.0, "float"), ("2", "str"), (True, "bool"), (np.ones(2), "ndarray")],
)
def test_not_an_integer(n, name):
    before = pysig.get_num_threads()
    with pytest.raises(TypeError, match=rf"n must be an integer or None, not {name}"):
        pysig.set_num_threads(n)
    assert pysig.get_num_threads() == before


@pytest.mark.parametrize("n", [10_000, 2**31, 2**70])
def test_maximum_beyond_what_openmp_has(n):
    limits = "import pysig; pysig.set_num_threads({}); print(pysig.get_num_threads())"
    assert run_python(limits.format(n), OMP_NUM_THREADS="3") == [with_openmp(3)]


@needs_affinity
def test_default_is_affinity_and_quota():
    program = "import pysig; print(pysig.get_num_threads())"
    expected = min(len(os.sched_getaffinity(0)), cpu_quota() or sys.maxsize)
    assert run_python(program) == [with_openmp(expected)]


def test_omp_num_threads():
    program = """
        import pysig
        print(pysig.get_num_threads())
        for n in (1, 2, 3, 4, None):
            pysig.set_num_threads(n)
            print(pysig.get_num_threads())
    """
    assert run_python(program, OMP_NUM_THREADS="1") == ["1"] * 6
    default, *numbers, restored = run_python(program, OMP_NUM_THREADS="3")
    assert numbers == [with_openmp(n) for n in (1, 2, 3, 3)]
    assert restored == default == with_openmp(min(3, threads_available()))


def threads_available():
    (number,) = run_python("import pysig; print(pysig.get_num_threads())")
    return int(number)


def test_omp_thread_limit():
    program = "import pysig; pysig.set_num_threads(4); print(pysig.get_num_threads())"
    assert run_python(program, OMP_NUM_THREADS="4", OMP_THREAD_LIMIT="1") == ["1"]
    assert run_python(program, OMP_NUM_THREADS="4", OMP_THREAD_LIMIT="2") == [with_openmp(2)]


@needs_affinity
def test_affinity():
    program = """
        import os
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cpus)})
        import pysig
        print(pysig.get_num_threads())
        os.sched_setaffinity(0, cpus)
        print(pysig.get_num_threads())
        pysig.set_num_threads(2)
        print(pysig.get_num_threads())
    """
    assert run_python(program) == ["1", "1", "1"]
    assert run_python(program, OMP_NUM_THREADS="2") == ["1", "1", with_openmp(2)]


@needs_affinity
def test_none_reads_the_affinity_again():
    program = """
        import os
        import pysig
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        pysig.set_num_threads(None)
        print(pysig.get_num_threads())
    """
    assert run_python(program) == ["1"]


def test_quota(monkeypatch):
    monkeypatch.setattr(threads, "cpu_quota", lambda: 1)
    pysig.set_num_threads(None)
    assert pysig.get_num_threads() == 1


def test_threadpoolctl_limits():
    before = pysig.get_num_threads()
    with threadpoolctl.threadpool_limits(1):
        assert pysig.get_num_threads() == 1
    assert pysig.get_num_threads() == before


@needs_openmp
def test_threadpoolctl_restores_and_sees_openmp():
    program = """
        import pysig, threadpoolctl
        pysig.set_num_threads(2)
        print(pysig.get_num_threads())
        with threadpoolctl.threadpool_limits(1, user_api="openmp"):
            print(pysig.get_num_threads())
        print(pysig.get_num_threads())
        print(sum(pool["user_api"] == "openmp" for pool in threadpoolctl.threadpool_info()) > 0)
    """
    assert run_python(program, OMP_NUM_THREADS="2") == ["2", "1", "2", "True"]


def test_maximum_holds_in_every_python_thread():
    program = """
        import threading
        import pysig
        def show():
            print(pysig.get_num_threads())
        for n in (2, 3):
            setter = threading.Thread(target=pysig.set_num_threads, args=(n,))
            setter.start()
            setter.join()
            show()
            getter = threading.Thread(target=show)
            getter.start()
            getter.join()
    """
    expected = [with_openmp(n) for n in (2, 2, 3, 3)]
    assert run_python(program, OMP_NUM_THREADS="4") == expected


def test_many_python_threads_set_and_get():
    pysig.set_num_threads(2)
    allowed = {1, pysig.get_num_threads()}
    seen = [set() for _ in range(8)]
    start = threading.Barrier(len(seen))

    def work(numbers):
        start.wait()
        for i in range(2000):
            pysig.set_num_threads(1 + i % 2)
            numbers.add(pysig.get_num_threads())

    callers = [threading.Thread(target=work, args=(numbers,)) for numbers in seen]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(numbers and numbers <= allowed for numbers in seen)
    assert pysig.get_num_threads() == max(allowed)


# The parent's OpenMP threads are waiting for work when it forks; a child that counted on them
# would hang, and run_python would fail by its time limit.
FORK = """
    import os
    import warnings
    import numpy as np
    import pysig

    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about the fork
    path = np.random.default_rng(0).standard_normal((256, 200, 4))

    def tasks():
        return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

    pysig.set_num_threads(2)
    before = tasks()
    expected = pysig.signature(path, 4)
    print("threads-started", tasks() - before, flush=True)

    def child(n):
        print("child", pysig.get_num_threads(), flush=True)
        pysig.set_num_threads(n)
        np.testing.assert_allclose(pysig.signature(path, 4), expected, rtol=1e-12, atol=1e-12)
        pysig.set_num_threads(None)
        np.testing.assert_allclose(pysig.signature(path, 4), expected, rtol=1e-12, atol=1e-12)
        print("child", pysig.get_num_threads(), flush=True)
"""
IN_CHILD = ["child", "1", "child", "1"]


@needs_fork
def test_os_fork():
    program = textwrap.dedent(FORK) + textwrap.dedent("""
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                child(2)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        print("parent", pysig.get_num_threads())
        np.testing.assert_array_equal(pysig.signature(path, 4), expected)
    """)
    printed = run_python(program, OMP_NUM_THREADS="2")
    if sys.platform == "linux":
        assert printed[:2] == ["threads-started", "1" if threads.has_openmp else "0"]
    assert printed[2:] == [*IN_CHILD * 3, "parent", with_openmp(2)]


@needs_fork
def test_multiprocessing_fork():
    program = textwrap.dedent(FORK) + textwrap.dedent("""
        import multiprocessing
        process = multiprocessing.get_context("fork").Process(target=child, args=(2,))
        process.start()
        process.join()
        assert process.exitcode == 0
    """)
    assert run_python(program, OMP_NUM_THREADS="2")[2:] == IN_CHILD


@needs_fork
def test_child_of_a_child():
    program = textwrap.dedent(FORK) + textwrap.dedent("""
        pid = os.fork()
        if pid == 0:
            pid = os.fork()
            if pid == 0:
                child(2)
                os._exit(0)
            os._exit(os.waitpid(pid, 0)[1])
        assert os.waitpid(pid, 0)[1] == 0
    """)
    assert run_python(program, OMP_NUM_THREADS="2")[2:] == IN_CHILD

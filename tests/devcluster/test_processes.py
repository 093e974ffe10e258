"""When a process of the harness counts as ended."""

import signal
import socket
import sys

from unicorn_devcluster import ports, processes

HEADLESS = """
import ctypes, socket, sys, threading, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
threading.Thread(target=time.sleep, args=[1]).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_one_whose_first_thread_has_ended_lives_as_long_as_the_others(tmp_path):
    """A killed server ends thread by thread: until the last one, it holds its port."""
    port = ports.free_port("127.0.0.1")
    process = processes.spawn([sys.executable, "-c", HEADLESS, str(port)], log=tmp_path / "log")
    processes.end([process], signal.SIGCONT)  # which ends nothing
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_one_behind_a_prefix_is_found_as_soon_as_it_is_spawned(tmp_path):
    """While a second program is loaded, a process shows neither arguments nor environment."""
    prefix = ["sh", "-c", 'sleep 0.2; exec "$0" "$@"']
    process = processes.spawn(["sleep", "60"], log=tmp_path / "log", prefix=prefix)
    try:
        assert process.cmdline() == ["sleep", "60"]
    finally:
        processes.end([process])

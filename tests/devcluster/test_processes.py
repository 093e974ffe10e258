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

"""Stands in for the agent where a test is about its process only: says that it was started, then does as $STUB says."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

home = os.environ["HOME"]
with open(os.path.join(home, "starts"), "a") as file:
    file.write(f"{os.getpid()}\n")
action, _, argument = os.environ.get("STUB", "sleep").partition(":")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a pod has no default for it
if action == "exit":
    sys.exit(int(argument))
if action == "memory":
    held = bytearray(os.urandom(1024 * 1024)) * 512
if action == "environment":
    with open(os.path.join(home, "environment"), "w") as file:
        file.write(repr((dict(os.environ), os.getuid(), os.getgid(), os.getgroups(), os.getcwd(), os.umask(0))))
if action == "stubborn":  # ignores TERM, and has children that left its session, one with a clean environment
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for environment in (None, {}):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment, start_new_session=True)
if action == "leave":  # ends, a child of its goes on
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    sys.exit(0)
if action == "headless":  # its first thread ends, another goes on: the kernel shows a zombie
    threading.Thread(target=time.sleep, args=[600]).start()
    ctypes.CDLL(None).pthread_exit(None)
with open(os.path.join(home, "ready"), "w"):
    pass
time.sleep(600)

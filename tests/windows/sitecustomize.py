"""Python as it is on Windows, as far as Linux can be made to look like it: see `test_windows.py`.

It takes away what CPython lacks there, before anything else is imported, and lets no folder be opened.
"""

import importlib.machinery
import os
import sys

LACKING = {"fcntl", "grp", "pwd", "resource", "termios"}

for name in (
    *("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "sysconf", "sched_getaffinity", "fork"),
    *("killpg", "fchmod", "fchown", "getuid", "geteuid", "getpgid", "setsid", "getpriority", "mkfifo"),
):
    if hasattr(os, name):
        delattr(os, name)

_find_spec = importlib.machinery.PathFinder.find_spec
_open = os.open


def find_spec(name, path=None, target=None):
    return None if name in LACKING else _find_spec(name, path, target)


def open_file(path, flags, *arguments, **options):
    if os.path.isdir(path):  # noqa: PTH112 - before pathlib is imported
        raise PermissionError(13, "Permission denied", path)
    return _open(path, flags, *arguments, **options)


importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
os.open = open_file
for name in LACKING:
    sys.modules.pop(name, None)

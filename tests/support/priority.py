"""Programs of root may make themselves more urgent than all others; those of tests may not.

SVT-AV1 makes the thread that encodes with it a real-time one (SCHED_FIFO) where it may. Whatever that thread starts is
one, too: a browser that computes then stops everything else on its core.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_CAP_SYS_NICE: Final = 23
_PR_CAPBSET_DROP: Final = 24
_VERSION_3: Final = 0x20080522  # of the header of capget and capset, for 64 capabilities


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def keep_ordinary() -> None:
    """Neither this thread nor what it starts can raise its priority from now on; Linux only, and nothing elsewhere."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if library.capget(ctypes.byref(header), sets) == 0:
        for name, _ in _Sets._fields_:
            setattr(sets[0], name, getattr(sets[0], name) & ~(1 << _CAP_SYS_NICE))
        library.capset(ctypes.byref(header), sets)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

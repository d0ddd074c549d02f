"""Lives for so many milliseconds, TLS loaded: short.py MILLISECONDS"""

import ssl  # noqa: F401
import sys
import time

time.sleep(int(sys.argv[1]) / 1000)

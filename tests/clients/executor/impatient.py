"""Runs a script as it is, but for how long it sleeps: SCRIPT ARGUMENTS.

galaxy-workflow-executor sleeps for a hundred seconds before it looks at an invocation for the first time.
"""

import runpy
import sys
import time

LONGEST_SECONDS = 0.5

sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, LONGEST_SECONDS))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")

"""Some of Python's own tests, where they are installed; prints how each file's ended."""
import contextlib
import glob
import importlib
import io
import os
import sys
import test
import unittest

test.__path__.extend(glob.glob(os.path.join(os.environ["GUESTS"], "root", "usr/lib/python3*/test")))

JSON = ["decode", "default", "dump", "encode_basestring_ascii", "enum", "fail", "float", "indent",
        "pass1", "pass2", "pass3", "recursion", "scanstring", "separators", "speedups", "unicode"]
# ThreadJoinOnShutdown waits for threads that outlive the interpreter, which some hosts never end.
THREADING = ["ThreadTests", "SubinterpThreadingTests", "ThreadingExceptionTests", "TimerTests",
             "LockTests", "PyRLockTests", "CRLockTests", "EventTests", "ConditionAsRLockTests",
             "ConditionTests", "SemaphoreTests", "BoundedSemaphoreTests", "BarrierTests",
             "MiscTestCase", "InterruptMainTests", "ExceptHookTests", "AtexitTests"]
NAMES = (["test_json.test_" + name for name in JSON] + ["test_re"]
         + ["test_threading." + name for name in THREADING] + ["test_math"])

for name in NAMES:
    try:
        file = name if name.startswith("test_json") else name.split(".")[0]
        importlib.import_module("test." + file)
    except ImportError:
        print(name, "is not installed")
        continue
    suite = unittest.defaultTestLoader.loadTestsFromName("test." + name)
    with contextlib.redirect_stdout(io.StringIO()):
        result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    print(name, result.testsRun, "tests")
    for case, trace in result.failures + result.errors:
        print("failed:", case)

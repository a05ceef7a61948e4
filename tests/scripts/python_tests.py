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

# The other classes of test_threading wait for threads that outlive the interpreter, which some
# hosts never end.
NAMES = ["test_json.test_decode", "test_json.test_dump", "test_json.test_float",
         "test_json.test_unicode", "test_re", "test_threading.ThreadTests", "test_math"]

for name in NAMES:
    try:
        file = name.removesuffix(".ThreadTests")
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

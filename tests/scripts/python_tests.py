"""Some of Python's own tests, where they are installed; prints how each ended."""
import glob
import importlib
import io
import os
import sys
import test
import unittest

test.__path__.extend(glob.glob(os.environ["GUESTS"] + "/root/usr/lib/python3*/test"))

for name in ["test_json", "test_re", "test_threading", "test_math"]:
    try:
        module = importlib.import_module("test." + name)
    except ImportError:
        print(name, "is not installed")
        continue
    loader = unittest.defaultTestLoader
    if name == "test_threading":
        # The others wait for threads that outlive the interpreter, which some hosts never end.
        suite = loader.loadTestsFromTestCase(module.ThreadTests)
    else:
        suite = loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    print(name, result.testsRun, "tests", len(result.failures), len(result.errors))
    for case, trace in result.failures + result.errors:
        print(case, trace, file=sys.stderr)

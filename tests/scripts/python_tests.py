"""Some of Python's own tests, where they are installed; prints how each ended."""
import importlib
import io
import sys
import unittest

for name in ["test_json", "test_re", "test_threading", "test_math"]:
    try:
        module = importlib.import_module("test." + name)
    except ImportError:
        print(name, "is not installed")
        continue
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    print(name, result.testsRun, "tests", len(result.failures), len(result.errors))
    for case, trace in result.failures + result.errors:
        print(case, trace, file=sys.stderr)

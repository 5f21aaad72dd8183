# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/sdk-python.md, one after the other; what `print` is said to print behind it, it prints."""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs/sdk-python.md"


def examples():
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


class PageTest(unittest.TestCase):
    def test_every_example_has_the_right_types(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, "page.py")
            program.write_text("\n".join(examples()))
            mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder, program]
            checked = subprocess.run(mypy, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_every_example_does_what_it_says(self):
        blocks = examples()
        self.assertGreater(len(blocks), 5)
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            names = {"__name__": "page"}
            for block in blocks:
                printed = io.StringIO()
                with self.subTest(block), contextlib.redirect_stdout(printed):
                    exec(compile(block, str(PAGE), "exec"), names)
                    expected = re.findall(r"print\(.*\)  # (.*)", block)
                    self.assertEqual(printed.getvalue().splitlines(), expected)
            os.chdir(before)

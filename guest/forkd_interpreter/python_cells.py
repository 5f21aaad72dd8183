# SPDX-License-Identifier: Apache-2.0
"""Python's kernel where the image has no ipykernel: the standard library alone.

    CONTROL

CONTROL is a socket, with a JSON object a line in both directions: a cell in; results, errors and the end out.
"""

import ast
import asyncio
import base64
import builtins
import inspect
import io
import json
import linecache
import signal
import socket
import sys
import traceback
import types

from forkd_interpreter import rich, steady

METHODS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "application/pdf": "_repr_pdf_",
    "text/latex": "_repr_latex_",
    "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}
PICTURES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
}

running = False
control = None


def on_interrupt(signum, frame):
    if running:
        raise KeyboardInterrupt


def say(message):
    steady.flush()
    control.sendall(json.dumps(message).encode() + b"\n")


def picture(figure):
    """In the format of savefig.format, as matplotlib would write it to a file: png unless the cell says otherwise."""
    import matplotlib

    written, kind = io.BytesIO(), matplotlib.rcParams["savefig.format"]
    kind = kind if kind in PICTURES else "png"
    figure.savefig(written, format=kind, bbox_inches="tight")
    return {PICTURES[kind]: written.getvalue()}


def bundle(value):
    """By MIME type, as IPython's objects say it."""
    found = {"text/plain": repr(value)}
    if not isinstance(value, type):
        for kind, method in METHODS.items():
            try:
                content = getattr(value, method, lambda: None)()
            except Exception:
                continue
            if isinstance(content, tuple):
                content = content[0]  # the other one is metadata
            if content is not None:
                found[kind] = content
        try:
            more = getattr(value, "_repr_mimebundle_", dict)()
            found.update(more[0] if isinstance(more, tuple) else more or {})
        except Exception:
            pass
        chart = rich.chart(value)
        if chart or ((module := sys.modules.get("matplotlib.figure")) and isinstance(value, module.Figure)):
            found.update(picture(value))
        for kind, content in ((rich.CHART, chart), (rich.DATA, rich.data(value))):
            if content is not None:
                found[kind] = content
    for kind, content in found.items():
        if isinstance(content, bytes):
            text = kind == "image/svg+xml" or kind.startswith("text/")
            found[kind] = content.decode("utf-8", "replace") if text else base64.b64encode(content).decode()
    return rich.limited(found)


def display(*values):
    for value in values:
        say({"type": "result", "is_main_result": False, "bundle": bundle(value)})


def show_figures(*arguments, **options):
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot:
        for number in pyplot.get_fignums():
            display(pyplot.figure(number))
        pyplot.close("all")


def execute(code, name, module):
    """Its last expression's value, as at a prompt."""
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    if last and code.rstrip().endswith(";"):
        tree.body.append(last)
        last = None
    value = None
    for part, mode in ((tree, "exec"), (last and ast.Expression(last.value), "eval")):
        if part:
            compiled = compile(part, name, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            value = eval(compiled, module.__dict__)
            if compiled.co_flags & inspect.CO_COROUTINE:
                value = asyncio.get_event_loop().run_until_complete(value)
    return value if last else None


def run(cell, name, module):
    global running
    try:
        try:
            running = True
            value = execute(cell["code"], name, module)
            show_figures()
            if value is not None:
                builtins._ = value
                say({"type": "result", "is_main_result": True, "bundle": bundle(value)})
        finally:
            running = False
    except BaseException as error:
        # The frames above those of the cell are ours.
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename != name:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
        say({"type": "error", "name": type(error).__name__, "value": str(error), "traceback": text})


def main(number, *options):
    global control
    control = socket.socket(fileno=int(number))
    control.set_inheritable(False)
    steady.line_buffered()
    signal.signal(signal.SIGINT, on_interrupt)
    asyncio.set_event_loop(asyncio.new_event_loop())
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    sys.modules["__main__"] = module
    builtins.display, builtins.exit, builtins.quit = display, steady.leave, steady.leave
    try:
        import matplotlib
    except ImportError:
        pass
    else:
        matplotlib.use("module://forkd_interpreter.figures")
    if "warm" in options:
        for sample in steady.warm():
            bundle(sample)
    state, count = steady.Cell(), 0
    say({"type": "end"})  # of the start
    for line in control.makefile("rb"):
        cell, count = json.loads(line), count + 1
        state.begin(cell)
        try:
            run(cell, f"<cell {count}>", module)
        finally:
            state.end()
        say({"type": "end"})

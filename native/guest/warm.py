# SPDX-License-Identifier: Apache-2.0
"""The warm interpreter: one process that has imported what evals need before the VM is forked.

Frames in both directions: 8 bytes of length, little-endian, then the payload. The first frame goes out
and says that the warm-up is over; then each frame in is an expression, each frame out is the reply line.
"""

import builtins
import gc
import json
import os
import signal
import sys
import traceback

CHANNEL, RESEEDED = int(sys.argv[1]), int(sys.argv[2])
# The twin of the constant in reseed.h. A fixed number, because libcs disagree about SIGRTMIN.
RESEED_SIGNAL = 40
RESEEDED_PIPE = os.fstat(RESEEDED).st_ino
sys.argv = [""]

pid = os.getpid()
evaluating = False
interrupted = False
reseeding = False


def on_reseed(signum, frame):
    """Runs between two bytecodes, so it also reaches an interpreter that is in the middle of an eval.

    A process that is forked from this one, such as a worker of multiprocessing, has inherited it. Whoever takes long is
    asked again, in the midst of it: beginning anew each time, it would never be done.
    """
    global reseeding
    if reseeding:
        return
    reseeding = True
    try:
        reseed()
    finally:
        reseeding = False


def reseed():
    verdict = b"-"
    try:
        if "random" in sys.modules:
            sys.modules["random"].seed()
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()
        if "ssl" in sys.modules:
            sys.modules["ssl"].RAND_add(os.urandom(64), 64)
        verdict = b"+"
    except Exception:
        traceback.print_exc()
    try:
        # A process that closed what it inherited may have something else under that number.
        if os.fstat(RESEEDED).st_ino == RESEEDED_PIPE:
            os.write(RESEEDED, os.getpid().to_bytes(4, "little") + verdict)
    except OSError:
        pass  # nobody waits


def on_interrupt(signum, frame):
    # An interrupt that comes just after the eval has ended must not hit the bridge.
    global interrupted
    if evaluating:
        interrupted = True
        raise KeyboardInterrupt


def read_exactly(size):
    data = bytearray()
    while len(data) < size:
        part = os.read(CHANNEL, min(size - len(data), 1 << 20))
        if not part:
            os._exit(0)
        data += part
    return bytes(data)


def send(reply):
    payload = json.dumps(reply).encode("ascii")
    rest = memoryview(len(payload).to_bytes(8, "little") + payload)
    while rest:
        rest = rest[os.write(CHANNEL, rest) :]


def describe(error, trace):
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    try:
        lines = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        lines = text
    return text, lines


def import_numpy():
    try:
        import numpy
    except ImportError:
        return {}, "not-installed"
    except Exception:
        traceback.print_exc()
        return {}, "not-installed"
    return {"numpy": numpy, "np": numpy}, str(numpy.__version__)


def run_warm_up(code, names):
    try:
        exec(compile(code, "<warm>", "exec"), names)
    except BaseException as error:
        return describe(error, error.__traceback__.tb_next)[1]
    return ""


def evaluate(code, names):
    global evaluating, interrupted
    interrupted = False
    try:
        try:
            evaluating = True
            reply = {"result": repr(eval(code.decode(), dict(names))), "exit_code": 0}
        finally:
            evaluating = False
    except BaseException as error:
        # The first frame is this one, which is nobody's business.
        text, trace = describe(error, error.__traceback__.tb_next)
        reply = {"error": text, "traceback": trace, "exit_code": 1}
        if interrupted and isinstance(error, KeyboardInterrupt):
            reply["error"] = "TimeoutExpired: eval took longer than it may, and was interrupted"
            reply["code"] = 124
    if os.getpid() != pid:
        os._exit(0)  # the expression forked: only the original answers
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        pass
    return reply


def main():
    os.set_inheritable(CHANNEL, False)
    os.set_inheritable(RESEEDED, False)
    signal.signal(signal.SIGINT, on_interrupt)
    signal.signal(RESEED_SIGNAL, on_reseed)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {RESEED_SIGNAL})
    imported, version = import_numpy()
    # A module like any other, so that workers are given its functions by name.
    module = type(sys)("forkd_warm")
    sys.modules[module.__name__] = module
    names = vars(module)
    names.update({"__builtins__": builtins, **imported})
    error = run_warm_up(read_exactly(int.from_bytes(read_exactly(8), "little")), names)
    # What the warm-up made is no garbage; left out of collections, its pages stay shared between forks.
    gc.collect()
    gc.freeze()
    send({"numpy_version": version, "error": error})
    while True:
        code = read_exactly(int.from_bytes(read_exactly(8), "little"))
        send(evaluate(code, names))


main()

# SPDX-License-Identifier: Apache-2.0
"""All that the clients can do, each in its own way. The guest of these tests is tests/native/guests/agent."""

import io
import os
import signal
import socket
import tempfile
import threading
import time
import unittest

import forkd
from waiting import waiting

TAG = os.environ["FORKD_TAG"]
MIB = 1 << 20
# Every limit that can be asked for.
LIMITS = {
    "console_limit_kib": 64,
    "disk_limit_mib": 1,
    "disk_bps": 1 << 30,
    "disk_iops": 10000,
    "net_bps": 1 << 30,
    "vsock_connections": 100,
    "vsock_buffer_mib": 8,
    "cpus": 1.5,
    "pids_limit": 100,
    "io_bps": 1 << 30,
    "io_iops": 1000,
}
LIFE = {"ttl_secs": 3600, "idle_secs": 1800, "freeze_secs": 600, "on_timeout": "pause", "wake": True}


class Tests:
    def setUp(self):
        self.client = self.make_client()
        self.made = self.client.spawn_sandboxes(TAG)
        self.addCleanup(self.made.__exit__, None, None, None)
        self.sandbox = self.made[0]

    def refused(self, status, method, *arguments, **named):
        with self.assertRaises(forkd.ControllerError) as raised:
            method(*arguments, **named)
        self.assertEqual(raised.exception.status, status, raised.exception)
        self.assertTrue(raised.exception.message)
        return raised.exception

    # --- the daemon

    def test_daemon(self):
        self.assertEqual(self.client.health(), {"ok": True})
        self.assertEqual(self.client.version()["api"], "v1")
        self.assertIn("forkd_sandboxes_active", self.client.metrics())
        self.assertIn("/v1/sandboxes", self.client.openapi()["paths"])

    def test_events_go_on_behind_a_cursor(self):
        with self.client.events() as events:
            with self.client.fork_sandbox(self.sandbox):
                pass
            heard = iter(events)
            created = next(event for event in heard if event["event"] == "created")
            ended = next(event for event in heard if event["event"] == "ended")
        self.assertEqual(created["sandbox"], ended["sandbox"])
        self.assertEqual(ended["reason"], "killed")
        with self.client.events(created["id"], follow=False) as events:
            self.assertEqual(next(iter(events)), ended)
        with self.client.events("0-0", follow=False) as events:
            self.assertIn("lost", [event["event"] for event in events])

    def test_events_may_be_long_in_coming(self):
        self.client.timeout, before = 0.2, self.client.timeout
        events = self.client.events()
        self.client.timeout = before
        with events:
            self.client.exec_command(self.sandbox, ["sleep", "0.5"])
            self.client.kill_sandbox(self.sandbox)
            self.assertIn(("ended", self.sandbox["id"]), ((event["event"], event.get("sandbox")) for event in events))

    # --- snapshots

    def test_snapshot_is_made_looked_at_and_removed(self):
        data = os.environ["XDG_DATA_HOME"]
        files = {"kernel": data + "/agent.elf", "rootfs": data + "/disk.ext4"}
        made = self.client.create_snapshot("sdk-made", **files, rw=True, boot_wait_secs=30)
        self.assertEqual((made["tag"], made["status"]), ("sdk-made", "ready"))
        self.assertEqual(self.client.snapshot_info("sdk-made")["chain_depth"], 0)
        self.client.delete_snapshot("sdk-made")
        self.assertNotIn("sdk-made", [snapshot["tag"] for snapshot in self.client.list_snapshots()])
        self.assertIn("nosuch", self.refused(404, self.client.snapshot_info, "nosuch").message)
        limits = dict(LIMITS, memory_limit_mib=256)
        files["kernel"] += "-nosuch"
        why = self.refused(400, self.client.create_snapshot, "sdk-made", tap="nosuch", **files, **limits)
        self.assertIn("agent.elf-nosuch", why.message)

    def test_snapshot_is_made_of_an_image(self):
        image, kernel = os.environ["FORKD_IMAGE"], os.environ["XDG_DATA_HOME"] + "/agent.elf"
        options = {"kernel": kernel, "memory_mib": 64, "vcpus": 1, "size_mib": 32, "warm": "1", "force": True}
        options.update(platform=None, packages=[], insecure_registry=False, volumes=[], volume_conflict="private")
        self.addCleanup(self.client.delete_snapshot, "sdk-image")
        made = self.client.create_snapshot("sdk-image", image=image, **options)
        self.assertEqual((made["tag"], made["status"]), ("sdk-image", "ready"))
        self.assertEqual(self.client.snapshot_info("sdk-image")["vcpus"], 1)
        with self.client.spawn_sandboxes("sdk-image") as [one]:
            self.assertEqual(self.client.exec_command(one, ["echo", "hi"])["stdout"], "hi\n")
        why = self.refused(400, self.client.create_snapshot, "sdk-none", image="UPPER/case", platform="linux/amd64")
        self.assertIn("UPPER", why.message)
        why = self.refused(400, self.client.create_snapshot, "sdk-none", image=image, kernel=kernel, initrd="/nosuch")
        self.assertIn("/nosuch", why.message)

    def test_image_may_be_long_in_coming(self):
        registry = socket.create_server(("127.0.0.1", 0))

        def listen():
            connection, _ = registry.accept()
            time.sleep(1)
            registry.close()
            connection.close()

        listener = threading.Thread(target=listen)
        listener.start()
        self.addCleanup(listener.join)
        self.client.timeout = 0.2
        image = f"localhost:{registry.getsockname()[1]}/team/py:1"
        options = {"kernel": os.environ["XDG_DATA_HOME"] + "/agent.elf", "insecure_registry": True, "boot_wait_secs": 0}
        with self.assertRaises(forkd.ControllerError) as raised:
            self.client.create_snapshot("sdk-late", image=image, **options)
        self.assertIn("team/py", raised.exception.message)

    def test_snapshot_that_is_made_tells_how_it_goes_on(self):
        image, kernel = os.environ["FORKD_IMAGE"], os.environ["XDG_DATA_HOME"] + "/agent.elf"
        options = {"kernel": kernel, "memory_mib": 64, "vcpus": 1, "size_mib": 32}
        self.addCleanup(self.client.delete_snapshot, "sdk-told")
        with self.client.create_snapshot_stream("sdk-told", image=image, **options) as told:
            *lines, last = told
        self.assertTrue(any("step" in line for line in lines), lines)
        self.assertEqual(last["snapshot"], told.snapshot)
        self.assertIn(told.snapshot, self.client.list_snapshots())
        with self.client.create_snapshot_stream("sdk-told", image=image, force=True, **options) as told:
            self.assertEqual(told.wait()["tag"], "sdk-told")
        self.refused(409, self.client.create_snapshot_stream("sdk-told", image=image, **options).__enter__)

        options["image"] = "oci:/nosuch:1"
        why = self.refused(404, self.client.create_snapshot, "sdk-none", **options)
        with self.client.create_snapshot_stream("sdk-none", **options) as told:
            self.assertEqual(self.refused(404, told.wait).message, why.message)
        self.assertIsNone(told.snapshot)

    def test_branch_ends_with_its_context(self):
        self.client.exec_command(self.sandbox, ["sh", "-c", "echo half way > work"])
        with self.client.branch(self.sandbox) as branch, self.client.spawn_sandboxes(branch["tag"]) as children:
            self.assertEqual(branch["branched_from"], self.sandbox["id"])
            self.assertEqual(self.client.exec_command(children[0], ["cat", "work"])["stdout"], "half way\n")
            layer = self.client.branch_sandbox(
                children[0], "sdk-layer", mode="diff", parent_tag=branch["tag"], measure_diff=False
            )
            self.assertEqual(self.client.snapshot_info(layer["tag"])["parent_tag"], branch["tag"])
            self.assertEqual(self.client.compact_snapshot(layer["tag"], "sdk-whole")["tag"], "sdk-whole")
            self.client.delete_snapshot("sdk-whole", force=True)
            self.refused(409, self.client.delete_snapshot, branch["tag"])
            self.client.delete_snapshot(branch["tag"], cascade=True)
        self.assertNotIn(branch["tag"], [snapshot["tag"] for snapshot in self.client.list_snapshots()])

    def test_branch_that_is_not_awaited(self):
        with self.client.branch(self.sandbox, "sdk-branch", "live"):
            self.refused(409, self.client.branch_sandbox, self.sandbox, "sdk-branch")
        self.refused(400, self.client.branch_sandbox, self.sandbox, "sdk-branch", wait=False)

    # --- sandboxes

    def test_list_ends_what_was_made(self):
        with self.client.spawn_sandboxes(TAG, n=3) as three:
            self.assertEqual(len(three), 3)
            self.client.kill_sandbox(three[1])
        for one in three:
            self.refused(404, self.client.get_sandbox, one)

    def test_list_ends_what_was_made_when_something_fails(self):
        with self.assertRaises(ZeroDivisionError), self.client.spawn_sandboxes(TAG) as [one]:
            raise ZeroDivisionError
        self.refused(404, self.client.get_sandbox, one["id"])

    def test_names_and_labels(self):
        made = self.client.fork_sandbox(self.sandbox, 2, labels={"job": "7", "kind": "a"}, **LIFE)
        self.assertEqual((made[0]["ttl_secs"], made[0]["wake"]), (3600, True))
        self.assertEqual(self.client.rename_sandbox(made[0], "sdk-one")["name"], "sdk-one")
        self.assertEqual(self.client.get_sandbox("sdk-one", ask=True)["id"], made[0]["id"])
        self.assertIsNone(self.client.rename_sandbox("sdk-one", None)["name"])
        labelled = self.client.label_sandbox(made[0], {"kind": None, "more": ""})
        self.assertEqual(labelled["labels"], {"job": "7", "more": ""})
        both = [one["id"] for one in self.client.list_sandboxes({"job": "7"})]
        self.assertEqual(sorted(both), sorted(one["id"] for one in made))
        [one] = self.client.list_sandboxes({"more": None, "job": "7"}, ask=True)
        self.assertEqual(one["id"], made[0]["id"])
        self.assertEqual(self.client.list_sandboxes({"job": "8"}), [])
        ended = self.client.delete_sandboxes([made[0]], {"job": "7"})
        self.assertEqual([one["success"] for one in ended], [True, True])
        [failed] = self.client.delete_sandboxes([made[0]])
        self.assertFalse(failed["success"])
        self.assertIn(made[0]["id"], failed["error"])
        self.refused(400, self.client.fork_sandbox, self.sandbox, 2, name="sdk-two")

    def test_every_option_is_understood(self):
        why = self.refused(
            404,
            self.client.spawn_sandboxes,
            "nosuch",
            memory_limit_mib=256,
            prewarm=True,
            live_fork=True,
            hugepages=True,
            network={"allow": ["example.com:443"], "deny": ["10.0.0.0/8"]},
            name="sdk-three",
            labels={"a": "b"},
            **LIMITS,
            **LIFE,
        )
        self.assertIn("nosuch", why.message)

    def test_option_that_is_not_there_is_refused(self):
        with self.assertRaisesRegex(TypeError, "'disk_limit'.*disk_limit_mib"):
            self.client.spawn_sandboxes(TAG, disk_limit=5)
        with self.assertRaises(TypeError):
            self.client.set_timeout(self.sandbox, ttl=5)

    def test_pause_resume_and_timeouts(self):
        self.assertEqual(self.client.pause_sandbox(self.sandbox)["state"], "paused")
        self.refused(409, self.client.ping_sandbox, self.sandbox)
        self.assertEqual(self.client.resume_sandbox(self.sandbox)["state"], "running")
        self.assertIs(self.client.ping_sandbox(self.sandbox)["pong"], True)
        until = self.client.set_timeout(self.sandbox, **LIFE)
        self.assertEqual({field: until[field] for field in LIFE}, LIFE)
        self.assertIsNone(self.client.set_timeout(self.sandbox)["ttl_secs"])

    def test_reset_forgets_what_the_guest_did(self):
        self.client.exec_command(self.sandbox, ["sh", "-c", "echo half way > work"])
        self.assertEqual(self.client.reset_sandbox(self.sandbox)["state"], "running")
        self.assertNotEqual(self.client.exec_command(self.sandbox, ["cat", "work"])["stdout"], "half way\n")

    def test_pool_hands_out_and_takes_back(self):
        self.assertEqual(self.client.put_pool("clients", self.sandbox["snapshot_tag"], 3)["size"], 3)
        try:
            first = self.client.take_sandbox("clients", name="taken", labels={"of": "clients"})
            self.assertEqual(first["pool"], {"name": "clients", "state": "taken"})
            self.client.exec_command(first, ["sh", "-c", "echo half way > work"])
            self.client.give_back_sandbox("taken")
            self.refused(409, self.client.give_back_sandbox, first)
            with self.client.taken("clients") as other:
                self.assertNotEqual(self.client.exec_command(other, ["cat", "work"])["stdout"], "half way\n")
            self.assertEqual([pool["name"] for pool in self.client.list_pools()], ["clients"])
            self.assertEqual(self.client.get_pool("clients")["taken"], 0)
        finally:
            self.client.delete_pool("clients")
        self.refused(404, self.client.get_pool, "clients")
        self.refused(404, self.client.take_sandbox, "clients")

    def test_pool_is_told_what_to_make(self):
        limits = dict(LIMITS, memory_limit_mib=256)
        options = {"per_child_netns": True, "network": "none", "labels": {"of": "clients"}, **LIFE, **limits}
        pool = self.client.put_pool("limited", self.sandbox["snapshot_tag"], 2, **options)
        self.assertEqual({field: pool[field] for field in limits}, limits)
        self.refused(404, self.client.get_pool, "limited", owner="anna")
        self.refused(404, self.client.delete_pool, "limited", owner="anna")
        self.client.delete_pool("limited")

    def test_wait_until_it_has_ended(self):
        self.assertIs(self.client.wait_sandbox(self.sandbox, 0), False)
        self.client.set_timeout(self.sandbox, ttl_secs=1)
        self.assertIs(self.client.wait_sandbox(self.sandbox, 60), True)
        self.refused(404, self.client.wait_sandbox, self.sandbox)

    def test_metrics_of_a_sandbox(self):
        figures = self.client.sandbox_metrics(self.sandbox)
        self.assertEqual(figures["id"], self.sandbox["id"])
        self.assertGreater(figures["resident_bytes"], 0)
        self.assertIsNone(figures["guest"])
        self.assertGreater(self.client.sandbox_metrics(self.sandbox, guest=True)["guest"]["cpus"], 0)

    def test_log_of_a_console(self):
        self.assertEqual(self.client.read_log(self.sandbox), "")
        for word in ("one", "tw\u00f6"):
            self.client.exec_command(self.sandbox, ["console", word])
        self.assertEqual(self.client.read_log(self.sandbox), "one\ntw\u00f6\n")
        self.assertEqual(self.client.read_log(self.sandbox, tail=1), "tw\u00f6\n")
        self.assertEqual(self.client.read_log(self.sandbox, tail=0), "")
        with self.client.follow_log(self.sandbox, tail=1) as log:
            pieces = iter(log)
            heard = ""
            while not heard.endswith("tw\u00f6\n"):
                heard += next(pieces)
            self.client.exec_command(self.sandbox, ["console", "three"])
            self.client.kill_sandbox(self.sandbox)
            heard += "".join(pieces)
        self.assertEqual(heard, "tw\u00f6\nthree\n")
        for method in (self.client.read_log, lambda sandbox: self.client.follow_log(sandbox).__enter__()):
            self.refused(404, method, self.sandbox)

    def test_network_of_one_that_has_none(self):
        self.refused(409, self.client.set_network, self.sandbox, "none")

    # --- programs

    def test_exec(self):
        run = self.client.exec_command
        self.assertEqual(
            run(self.sandbox, ["sh", "-c", "echo out; echo err >&2; exit 3"]),
            {"stdout": "out\n", "stderr": "err\n", "exit_code": 3},
        )
        self.assertEqual(run(self.sandbox, ["cat"], stdin="text")["stdout"], "text")
        self.assertEqual(run(self.sandbox, ["cat"], stdin=b"bytes")["stdout"], "bytes")
        self.assertEqual(run(self.sandbox, ["pwd"], cwd="/tmp")["stdout"], "/tmp\n")
        self.assertEqual(run(self.sandbox, ["whoami"], user="nobody")["stdout"], "nobody\n")
        self.assertIn("A=b\n", run(self.sandbox, ["env"], env={"A": "b"})["stdout"])
        self.assertIn("1 s", run(self.sandbox, ["sleep", "600"], timeout_secs=1)["error"])

    def test_exec_may_take_longer_than_the_client_waits_otherwise(self):
        self.client.timeout = 0.5
        self.assertEqual(self.client.exec_command(self.sandbox, ["sleep", "1"])["exit_code"], 0)

    def test_eval(self):
        self.assertEqual(self.client.eval_code(self.sandbox, "6 * 7", timeout_secs=5)["result"], "42")

    def test_exec_is_listened_to(self):
        with self.client.exec_stream(self.sandbox, ["sh", "-c", "echo out; echo err >&2; exit 3"]) as run:
            self.assertGreater(run.pid, 0)
            self.assertIsNone(run.exit_code)
            said = list(run)
        self.assertEqual(said, [("stdout", b"out\n"), ("stderr", b"err\n")])
        self.assertEqual((run.exit_code, run.timed_out, run.position), (3, False, (4, 4)))
        with self.client.exec_stream(self.sandbox, ["cat"], stdin=b"\0\xff", env={}, cwd="/", user="root") as run:
            self.assertEqual(b"".join(data for _, data in run), b"\0\xff")
        with self.client.exec_stream(self.sandbox, ["sleep", "600"], 1) as run:
            self.assertNotEqual(run.wait(), 0)
            self.assertTrue(run.timed_out)
        self.refused(400, self.client.exec_stream(self.sandbox, []).__enter__)

    def test_much_output_is_whole(self):
        with self.client.exec_stream(self.sandbox, ["write", str(2 * MIB)]) as run:
            self.assertEqual(sum(len(output.data) for output in run), 2 * MIB)
        self.assertEqual(run.position, (2 * MIB, 0))

    def test_who_comes_back_goes_on_where_he_was(self):
        with self.client.exec_stream(self.sandbox, ["slow", "20"], tag="slow", detach=True) as run:
            first = next(iter(run)).data
        stdout, stderr = run.position
        with self.client.attach_process(self.sandbox, "slow", stdout=stdout, stderr=stderr) as rest:
            self.assertEqual(rest.pid, run.pid)
            more = b"".join(output.data for output in rest)
        self.assertEqual(len(first + more), 20)
        self.assertEqual(rest.exit_code, 0)

    def test_process_that_nobody_waits_for(self):
        started = self.client.start_process(self.sandbox, ["sleep", "600"], tag="job", timeout_secs=900)
        [process] = self.client.list_processes(self.sandbox)
        self.assertEqual((process["pid"], process["tag"], process["exit_code"]), (started["pid"], "job", None))
        self.client.signal_process(self.sandbox, "job", signal.SIGKILL, group=True)
        with self.client.attach_process(self.sandbox, started["pid"]) as process:
            self.assertEqual(process.wait(), -9)
        self.refused(404, self.client.signal_process, self.sandbox, "nosuch", 9)

    def test_stream_of_a_sandbox_that_is_killed_breaks_off(self):
        with self.client.exec_stream(self.sandbox, ["sleep", "600"]) as run:
            self.client.kill_sandbox(self.sandbox)
            with self.assertRaises(forkd.StreamError):
                run.wait()

    def test_program_is_talked_to(self):
        with self.client.talk_to_process(self.sandbox, ["cat"], 60, env={"A": "b"}, cwd="/", user="root") as cat:
            cat.write(b"a" * MIB)
            cat.write(b"bc")
            cat.end_input()
            self.assertEqual(b"".join(output.data for output in cat), b"a" * MIB + b"bc")
        self.assertEqual(cat.exit_code, 0)
        with self.client.talk_to_process(self.sandbox, ["sh", "-c", "echo err >&2; exit 4"]) as shell:
            self.assertEqual(list(shell), [("stderr", b"err\n")])
        self.assertEqual(shell.wait(), 4)

    def test_program_has_a_terminal(self):
        with self.client.talk_to_process(self.sandbox, ["winch"], rows=24, columns=80, tag="screen") as screen:
            parts = iter(screen)
            seen = b""
            while b"24 80" not in seen:
                seen += next(parts).data
            screen.resize(50, 132)
            while b"50 132" not in seen:
                seen += next(parts).data
            with self.client.talk_to_process(self.sandbox, attach="screen") as other:
                self.assertEqual(other.pid, screen.pid)
                other.signal(signal.SIGKILL, group=True)
                self.assertEqual(other.wait(), -9)

    def test_who_has_heard_enough_leaves(self):
        with self.client.talk_to_process(self.sandbox, ["write", str(1 << 30)], tag="talk") as run:
            next(iter(run))
        with self.client.exec_stream(self.sandbox, ["write", str(1 << 30)], tag="stream") as run:
            next(iter(run))
        running = [one["tag"] for one in self.client.list_processes(self.sandbox) if one["exit_code"] is None]
        self.assertEqual(sorted(running), ["stream", "talk"])

    def test_program_cannot_be_talked_to(self):
        self.refused(404, self.client.talk_to_process("nosuch", ["cat"], detach=True).__enter__)
        self.refused(400, self.client.talk_to_process(self.sandbox).__enter__)
        with self.client.talk_to_process(self.sandbox, ["sleep", "600"]) as run:
            self.client.kill_sandbox(self.sandbox)
            with self.assertRaises(forkd.StreamError):
                run.wait()

    # --- files

    def test_file_is_written_looked_at_read_and_removed(self):
        entry = self.client.write_file(
            self.sandbox, "/d/a b", b"0123", mode=0o750, parents=True, uid=5, gid=6, mtime_ms=1600000000123, user="root"
        )
        self.assertEqual((entry["size"], entry["mode"], entry["uid"]), (4, "0750", 5))
        self.assertEqual(self.client.stat_file(self.sandbox, "/d/a b", follow=False, user="root"), entry)
        self.assertEqual(self.client.read_file(self.sandbox, "/d/a b", user="root"), b"0123")
        self.assertEqual(self.client.read_file(self.sandbox, "/d/a b", offset=1, length=2), b"12")
        self.assertEqual(self.client.read_file(self.sandbox, "/d/a b", offset=3), b"3")
        self.client.remove_file(self.sandbox, "/d", recursive=True, user="root")
        for method in (self.client.read_file, self.client.stat_file, self.client.remove_file):
            self.assertEqual(self.refused(404, method, self.sandbox, "/d/a b").code, "ENOENT")

    def test_whatever_there_is_is_written(self):
        with tempfile.TemporaryFile() as file:
            file.write(b"of a file")
            file.seek(0)
            contents = ["täxt", b"bytes", file, io.BytesIO(b"of memory"), iter([b"bit ", b"by bit"]), b""]
            expected = ["täxt".encode(), b"bytes", b"of a file", b"of memory", b"bit by bit", b""]
            for content, written in zip(contents, expected):
                self.client.write_file(self.sandbox, "/file", content)
                self.assertEqual(self.client.read_file(self.sandbox, "/file"), written)

    def test_files_are_of_any_size(self):
        sunk = self.client.write_file(self.sandbox, "/sink", (bytes(MIB) for _ in range(4)))
        self.assertEqual(sunk["size"], 4 * MIB)
        with self.client.open_file(self.sandbox, "/pattern", user="root") as pattern:
            self.assertEqual(pattern.size, 1 << 30)
            self.assertEqual(next(iter(pattern))[:32], b"0123456789abcdefghijklmnopqrstuv")
        with self.client.open_file(self.sandbox, "/pattern", length=40 * MIB) as pattern:
            self.assertEqual(sum(map(len, pattern)), 40 * MIB)

    def test_upload_that_is_refused_says_why(self):
        for bits in (bytes(4 * MIB), (bytes(MIB) for _ in range(4))):
            self.refused(404, self.client.write_file, "nosuch", "/file", bits)

    def test_directories(self):
        made = self.client.make_directory(
            self.sandbox, "/x/y", mode=0o700, parents=True, uid=1, gid=2, mtime_ms=1, user="root"
        )
        self.assertEqual(made, {"created": True})
        self.client.write_file(self.sandbox, "/x/y/line\u2028separator", "z")
        self.client.write_file(self.sandbox, b"/x/\xff", "z")
        shallow = self.client.list_files(self.sandbox, "/x", user="root")
        self.assertEqual(sorted(entry["type"] for entry in shallow), ["directory", "file"])
        deep = {entry["name"]: entry for entry in self.client.list_files(self.sandbox, b"/x", depth=2)}
        self.assertIn("line\u2028separator", deep)
        [strange] = [entry for entry in deep.values() if "name_base64" in entry]
        self.assertEqual((strange["name_base64"], strange["size"]), ("/w==", 1))
        for method in (self.client.read_file, self.client.stat_file, self.client.remove_file):
            method(self.sandbox, b"/x/\xff")
        self.assertEqual(self.refused(409, self.client.remove_file, self.sandbox, "/x").code, "ENOTEMPTY")
        self.assertEqual(self.refused(409, self.client.make_directory, self.sandbox, b"/x").code, "EEXIST")
        self.assertEqual(self.refused(404, self.client.list_files, self.sandbox, "/nosuch").code, "ENOENT")

    def test_what_this_guest_does_not_know_is_said(self):
        moves = [("/a", "/b", None), (b"/a", b"/b", "root")]
        for source, target, user in moves:
            self.refused(501, self.client.move_file, self.sandbox, source, target, user=user)
        for path in ("/", b"/"):
            watched = self.client.watch_files(self.sandbox, path, recursive=True, user="root")
            self.refused(501, watched.__enter__)

    # --- ports

    def test_server_of_a_guest(self):
        with self.client.port_client(self.sandbox, 80) as web:
            self.assertEqual(web.get("/a%20b", params={"c": "d"}).text, "hello from the guest: GET /a%20b?c=d HTTP/1.1")
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                self.assertIn(method, web.request(method, "/", content=b"body").text)
        with self.client.port_client(self.sandbox, 9) as web:
            self.assertEqual(web.get("/").status_code, 502)
        url = self.client.port_url(self.sandbox, 80, "/a?b")
        self.assertEqual(url, f"{os.environ['FORKD_URL']}/v1/sandboxes/{self.sandbox['id']}/ports/80/a?b")
        port = os.environ["FORKD_URL"].rpartition(":")[2]
        expected = f"http://80-{self.sandbox['id']}.localhost:{port}/a?b"
        self.assertEqual(self.client.port_host_url(self.sandbox, 80, "/a?b"), expected)

    # --- workspaces

    def test_workspace_sleeps_and_wakes(self):
        made = self.client.create_workspace("sdk-work", TAG, per_child_netns=False)
        self.assertEqual(made["status"], "running")
        self.client.exec_command(made["live_sandbox_id"], ["set", "note", "kept"])
        self.assertEqual(self.client.suspend_workspace("sdk-work", diff=False)["status"], "suspended")
        awake = self.client.resume_workspace("sdk-work")
        self.assertEqual(self.client.exec_command(awake["live_sandbox_id"], ["get", "note"])["stdout"], "kept\n")
        self.assertEqual(self.client.get_workspace("sdk-work")["status"], "running")
        self.assertEqual([one["name"] for one in self.client.list_workspaces()], ["sdk-work"])
        self.client.delete_workspace("sdk-work")
        self.refused(404, self.client.get_workspace, "sdk-work")
        self.refused(400, self.client.create_workspace, "no/name", TAG, memory_limit_mib=256)


class ControllerTest(Tests, unittest.TestCase):
    def make_client(self):
        client = forkd.Controller()
        self.addCleanup(client.close)
        return client

    def test_names_in_paths_are_escaped(self):
        for name in ("..", "a/../b", "a?b", "a#b", "%2e"):
            self.refused(404, self.client.get_sandbox, name)


class AsyncControllerTest(Tests, unittest.TestCase):
    def make_client(self):
        loop, client = waiting(forkd.AsyncController())
        self.addCleanup(loop.close)
        self.addCleanup(client.close)
        return client

    def test_bits_may_be_asynchronous_too(self):
        async def bits():
            yield b"bit "
            yield b"by bit"

        self.client.write_file(self.sandbox, "/file", bits())
        self.assertEqual(self.client.read_file(self.sandbox, "/file"), b"bit by bit")

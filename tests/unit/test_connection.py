# SPDX-License-Identifier: MIT
"""The notebook's end of the wire, against a scripted agent."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import far_end
import pytest
from far_end import FarEnd, a_run, started, stopped
from runs import until

from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.channel.refusals import ATTACH, KINDS, to_error
from kpmagic.errors import (
    AttachError,
    BuildError,
    CellError,
    KpmagicError,
    NotPermitted,
    TargetError,
    TargetLost,
    VerifierError,
)
from kpmagic.record import Aggregate


def connected(end: FarEnd) -> Connection:
    connection = Connection(end)
    connection.wait_for_hello()
    return connection


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_frames_may_come_in_any_pieces(piece: int) -> None:
    def read(end, run, message, blob):
        end.reply(run, message, {"size": 3}, b"abc")

    with connected(FarEnd({"read": read}, piece)) as connection:
        assert connection.release == "6.1.0-test"
        assert connection.read("/proc/version", 3) == b"abc"
        assert connection.target.asked[-1]["path"] == "/proc/version"
        assert connection.target.asked[-1]["size"] == 3


def test_answers_find_who_asked() -> None:
    waiting = []

    def read(end, run, message, blob):
        waiting.append(message)
        if len(waiting) == 8:  # answer the last one first
            for each in reversed(waiting):
                end.reply(0, each, {}, each["path"].encode())

    found: dict[str, bytes] = {}
    with connected(FarEnd({"read": read})) as connection:
        def ask(path: str) -> None:
            found[path] = connection.read(path)

        threads = [threading.Thread(target=ask, args=(f"/{at}",)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {f"/{at}": f"/{at}".encode() for at in range(8)}


@pytest.mark.parametrize(("kind", "error"), KINDS.items())
def test_each_kind_of_refusal_is_an_error_of_ours(kind: str, error: type[KpmagicError]) -> None:
    def ping(end, run, message, blob):
        end.refuse(run, message, kind=kind, message="it said no", errno=None, log="it said no")

    with connected(FarEnd({"ping": ping})) as connection, pytest.raises(error) as caught:
        connection.request("ping")
    assert "it said no" in str(caught.value)


def test_the_wire_has_no_kind_that_is_not_in_the_table() -> None:
    text = wire.__doc__ or ""
    named = {"verifier", "load", "attach", "spawn", "permission", "os"}
    assert all(f'"{kind}"' in text for kind in named)
    assert named <= set(KINDS)


@pytest.mark.parametrize("number", ATTACH)
def test_attach_errors_say_why_and_what_to_do(number: int) -> None:
    error = to_error({"kind": "attach", "message": "x", "errno": number, "program": "kp_0"})
    assert isinstance(error, AttachError | NotPermitted)
    assert errno.errorcode[number] in error.message
    assert error.hint


def test_an_attach_error_nobody_expected_names_its_errno() -> None:
    error = to_error({"kind": "attach", "message": "x", "errno": errno.ENOSPC})
    assert isinstance(error, AttachError)
    assert "ENOSPC" in error.message


def test_the_verifiers_sentence_is_the_message() -> None:
    log = "0: (b7) r0 = 0\ninfinite loop detected at insn 3\nprocessed 9 insns (limit 1000000)\n\n"
    error = to_error({"kind": "verifier", "message": "EINVAL", "log": log})
    assert isinstance(error, VerifierError)
    assert error.message == "infinite loop detected at insn 3"


def test_an_unknown_kind_is_still_one_of_ours() -> None:
    assert isinstance(to_error({"kind": "news", "message": "?"}), TargetError)
    assert isinstance(to_error({"kind": "load", "message": "?"}), BuildError)


def test_no_memory_says_what_takes_it() -> None:
    error = to_error({"kind": "load", "message": "no memory", "errno": errno.ENOMEM})
    assert "ring buffer" in error.hint
    assert "--buffer 64K" in error.hint


def test_another_protocol_is_refused() -> None:
    end = FarEnd()
    end._bytes.get()
    end.say(wire.HELLO, 0, wire.pack_json({"protocol": wire.PROTOCOL + 1}))
    with pytest.raises(TargetError, match=f"protocol {wire.PROTOCOL + 1}"):
        Connection(end).wait_for_hello()
    assert end.closed


def test_who_waits_when_the_target_dies_is_told() -> None:
    def read(end, run, message, blob):
        end.words = "BUG: kernel NULL pointer dereference\nRIP: foo"
        end.hang_up()

    connection = connected(FarEnd({"read": read}))
    with pytest.raises(TargetLost) as caught:
        connection.read("/x")
    assert "BUG: kernel NULL pointer dereference" in str(caught.value)
    with pytest.raises(TargetLost):
        connection.request("ping")
    assert not connection.alive


def test_bytes_that_are_not_the_wire_end_the_connection() -> None:
    end = FarEnd()
    connection = connected(end)
    end._bytes.put(b"\xff" * 64)
    with pytest.raises(TargetLost, match="no frame begins like this"):
        connection.request("ping", timeout=5)


def test_no_answer_in_time() -> None:
    silent = FarEnd({"ping": lambda *_: None})
    with connected(silent) as connection, pytest.raises(TargetError, match="'ping' within"):
        connection.request("ping", timeout=0.3)


def test_a_start_that_is_answered_too_late_is_stopped() -> None:
    """Its probe would fire until --max-time, and nobody would hear of it."""
    slow = FarEnd({"start": lambda *_: None, "stop": stopped})
    with connected(slow) as connection:
        with pytest.raises(TargetError, match="'start' within"):
            connection.request("start", run=7, timeout=0.3)
        until(lambda: (slow.asked[-1]["do"], slow.asked[-1]["run"]) == ("stop", 7))


def test_the_thread_that_reads_may_ask_and_keeps_the_order() -> None:
    """Rows that go to a file get the names of their stacks while they are taken."""
    seen: list[bytes] = []
    answers: list[bytes] = []

    class Asker:
        busy = False

        def on_frame(self, frame: wire.Frame) -> None:
            assert not self.busy
            self.busy = True
            if frame.payload in (b"first", b"third"):
                answers.append(connection.request("read", path=frame.payload.decode())[1])
            seen.append(frame.payload)
            self.busy = False

        def on_lost(self) -> None:
            seen.append(b"lost")

    def read(end: FarEnd, run: int, message: dict[str, object], blob: bytes) -> None:
        more = {"first": (b"second", b"third"), "third": (b"fourth",)}[str(message["path"])]
        for payload in more:
            end.say(wire.DATA, 7, payload)
        end.reply(run, message, {}, str(message["path"]).encode())

    end = FarEnd({"read": read})
    with connected(end) as connection:
        connection.listen(7, Asker())
        end.say(wire.DATA, 7, b"first")
        until(lambda: len(seen) == 4)
        end.answers["read"] = lambda end, *_: end.hang_up()
        end.say(wire.DATA, 7, b"first")
        until(lambda: b"lost" in seen)
    assert answers == [b"first", b"third"]
    assert seen == [b"first", b"second", b"third", b"fourth", b"lost"]


def test_closing_twice() -> None:
    end = FarEnd()
    connection = connected(end)
    connection.close()
    connection.close()
    assert end.closed


def test_only_the_process_that_made_it_closes_a_connection_at_its_end() -> None:
    code = """if True:
        import os, sys
        from far_end import FarEnd
        from kpmagic.channel.connection import Connection

        class Told(FarEnd):
            def close(self):
                super().close()
                print("closed by the", "child" if os.getpid() != parent else "parent", flush=True)

        parent = os.getpid()
        connection = Connection(Told())
        connection.wait_for_hello()
        if os.fork() == 0:
            sys.exit(0)
        os.wait()
    """
    path = os.pathsep.join([str(Path(far_end.__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
                          env=os.environ | {"PYTHONPATH": path}, check=True)  # fmt: skip
    assert set(done.stdout.splitlines()) == {"closed by the parent"}


def test_a_command_tells_its_output_and_code() -> None:
    def run(end, number, message, blob):
        for stream, text in (("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c")):
            end.say(wire.LOG, number, wire.pack_json({"stream": stream, "text": text}))
        end.reply(number, message, {"exit_code": 3})

    heard = []

    def hear(*piece: str) -> None:
        heard.append((threading.current_thread(), piece))

    with connected(FarEnd({"run": run})) as connection:
        code = connection.run("ls", hear)
    assert code == 3
    assert [piece for _, piece in heard] == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c")]
    assert {thread for thread, _ in heard} == {threading.current_thread()}


def test_an_interrupt_kills_the_command() -> None:
    def run(end, number, message, blob):
        end.say(wire.LOG, number, wire.pack_json({"stream": "stdout", "text": "a"}))

    killed = {"kill": lambda end, number, message, _: end.reply(number, message, {})}

    def interrupt(stream: str, text: str) -> None:
        raise KeyboardInterrupt

    with connected(FarEnd({"run": run} | killed)) as connection:
        with pytest.raises(KeyboardInterrupt):
            connection.run("sleep 1000", interrupt)
        words = [(each["do"], each["run"]) for each in connection.target.asked]
    assert words == [("run", words[0][1]), ("kill", words[0][1])]


# -- runs ------------------------------------------------------------------------------------


def test_a_run_from_start_to_end() -> None:
    def start(end, run, message, blob):
        assert blob == b"ELF"
        started(end, run, message, blob)
        end.rows(run, 1, 2)
        end.say(wire.LOG, run, wire.pack_json({"stream": "stdout", "text": "hi\n"}))
        end.say(wire.LOG, run, wire.pack_json({"stream": "stderr", "text": "oh\n"}))
        end.rows(run, 3)
        end.end(run, "while", counters={"hits": 5, "rows": 3, "filtered": 2}, missed=0,
                workload={"exit_code": 4})  # fmt: skip

    with connected(FarEnd({"start": start})) as connection:
        run = a_run(connection, command="ls", max_events=9, follow=True).start()
        assert run.wait(5)
        asked = connection.target.asked[-1]
        assert not connection._listeners  # a run that is over is not kept
    assert (asked["command"], asked["follow"], asked["config"]["max_rows"]) == ("ls", True, 9)
    assert run.df()["n"].tolist() == [1, 2, 3]
    assert run.df()["time"].astype("int64").tolist() == [1000] * 3
    assert dict(run.stats) == {"hits": 5, "rows": 3, "filtered": 2, "sampled": 0, "dropped": 0,
                               "missed": 0}  # fmt: skip
    assert run.stats.balanced
    assert (run.state, run.stopped_by) == ("stopped", "while")
    assert run.workload is not None
    assert (run.workload.exit_code, run.workload.stdout, run.workload.stderr) == (4, "hi\n", "oh\n")


def test_stopping_and_starting_again() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.rows(run, run)

    with connected(FarEnd({"start": start, "stop": stopped})) as connection:
        run = a_run(connection)
        assert run.state == "stopped"
        assert run.stopped_by is None
        with run.start():
            assert run.state == "running"
            assert run.start() is run  # it runs already
            assert not run.wait(0.05)
        assert (run.state, run.stopped_by) == ("stopped", "user")
        first = run.df()["n"].tolist()
        run.stop()
        run.start()
        run.stop("replaced")
        assert run.stopped_by == "replaced"
        assert len(run.df()) == 1
        assert run.df()["n"].tolist() != first
        words = [each["do"] for each in connection.target.asked]
    assert words == ["start", "stop", "start", "stop"]


def test_a_lost_target_keeps_the_rows_and_the_balance() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.rows(run, 1, 2, 3)
        end.counters(run, hits=10, rows=6, filtered=4)
        end.hang_up()

    end = FarEnd({"start": start})
    run = a_run(connected(end)).start()
    assert run.wait(5)
    assert run.stopped_by == "target-lost"
    assert run.df()["n"].tolist() == [1, 2, 3]
    assert (run.stats.hits, run.stats.dropped, run.stats.missed) == (10, 3, None)
    assert run.stats.balanced
    run.stop()
    assert run.stopped_by == "target-lost"


def test_rows_younger_than_the_last_counters_count_as_hits() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.counters(run, hits=2, rows=1, filtered=1)
        end.rows(run, 1, 2, 3)
        end.hang_up()

    run = a_run(connected(FarEnd({"start": start}))).start()
    assert run.wait(5)
    assert (run.stats.hits, run.stats.dropped) == (4, 0)
    assert run.stats.balanced


def test_a_return_probe_counts_entries() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.rows(run, 1)
        end.end(run, "for", in_flight=2,
                counters={"hits": 1, "rows": 1, "entries": 6, "unpaired": 3})  # fmt: skip

    with connected(FarEnd({"start": start})) as connection:
        run = a_run(connection, kind="kretprobe", duration=1).start()
        run.wait(5)
    stats = run.stats
    assert stats["entries"] == stats.hits + stats["unpaired"] + stats["in_flight"] == 6


def test_a_refused_start_leaves_a_failed_run() -> None:
    def start(end, run, message, blob):
        end.refuse(run, message, kind="attach", errno=errno.EILSEQ, message="", program="kp_0")

    with connected(FarEnd({"start": start})) as connection:
        run = a_run(connection)
        with pytest.raises(AttachError, match="inside an instruction"):
            run.start()
        assert run.state == "failed"
        assert len(run.df()) == 0


def test_a_target_that_is_lost_just_before_the_start_leaves_no_run_that_never_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lost(*_: object) -> None:
        raise TargetLost("far is gone")

    with connected(FarEnd({"start": started})) as connection:
        monkeypatch.setattr(connection, "listen", lost)
        run = a_run(connection, save=str(tmp_path / "run.parquet"))
        with pytest.raises(TargetLost):
            run.start()
        assert run.wait(0)
        assert run.state == "failed"
        assert os.listdir(tmp_path) == []


def test_damaged_data_is_an_error_of_the_run_and_not_of_the_reader() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.say(wire.DATA, run, b"xyz")
        end.rows(run, 5)
        end.end(run, "user", counters={"hits": 1, "rows": 1})

    with connected(FarEnd({"start": start})) as connection:
        run = a_run(connection).start()
        assert run.wait(5)
        assert "not whole records" in run.error
        assert run.df()["n"].tolist() == [5]
        connection.request("ping")


def test_waiting_takes_a_number_a_duration_or_nothing_at_all() -> None:
    with Connection(FarEnd({"start": started, "stop": stopped})) as connection:
        connection.wait_for_hello()
        run = a_run(connection).start()
        before = time.monotonic()
        assert [run.wait(0), run.wait(-1), run.wait("10ms"), run.wait(0.01)] == [False] * 4
        assert time.monotonic() - before < 2
        for wrong in ("soon", "", [1]):
            with pytest.raises(CellError, match="cannot wait"):
                run.wait(wrong)  # type: ignore[arg-type]
        run.stop()
        assert run.wait(0)


def test_an_interrupt_while_waiting_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(FarEnd({"start": started, "stop": stopped})) as connection:
        run = a_run(connection).start()

        def interrupted(timeout: object = None) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(run, "wait", interrupted)
        assert run.finish().stopped_by == "interrupt"


def test_aggregates_live_and_final() -> None:
    index = [{"map": "m", "key_size": 8, "entries": 1}]

    def blob(count: int) -> bytes:
        return bytes(8) + struct.pack("<Qq", count, 0)

    def live(end, run, message, _):
        end.reply(run, message, {"maps": index}, blob(2))

    def stop(end, run, message, _):
        end.reply(run, message, {})
        end.end(run, "user", blob(5), maps=index)

    counted = (Aggregate("m", "count()", "count"),)
    with connected(FarEnd({"start": started, "aggregates": live, "stop": stop})) as connection:
        run = a_run(connection, aggregates=counted).start()
        assert run.aggregates["count()"]["count"].tolist() == [2]
        run.stop()
        assert run.aggregates["count()"]["count"].tolist() == [5]


def test_aggregates_of_a_lost_target_are_those_last_looked_at_or_not_known() -> None:
    def live(end, run, message, _):
        index = [{"map": "m", "key_size": 8, "entries": 1}]
        end.reply(run, message, {"maps": index}, bytes(8) + struct.pack("<Qq", 2, 0))

    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.counters(run, hits=5, filtered=5)

    counted = (Aggregate("m", "count()", "count"),)
    for looks, found, words in ((True, [2], "last looked at"), (False, [], "not known")):
        end = FarEnd({"start": start, "aggregates": live})
        with connected(end) as connection:
            run = a_run(connection, aggregates=counted).start()
            if looks:
                assert run.aggregates["count()"]["count"].tolist() == [2]
            end.hang_up()
            assert run.wait(5)
        assert run.aggregates["count()"]["count"].tolist() == found
        assert [text for text in run.remarks if words in text]


def test_who_is_not_understood_or_silent_has_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with Connection(FarEnd()) as connection:
        connection.wait_for_hello()
        with pytest.raises(TargetError, match=r"did not give an answer within") as caught:
            connection._wait(threading.Event(), 0.0, "an answer")
        assert "%kp clean" in caught.value.hint
    monkeypatch.setattr(wire, "PROTOCOL", wire.PROTOCOL + 1)
    with (
        Connection(FarEnd()) as connection,
        pytest.raises(TargetError, match="speaks protocol 1, not 2") as caught,
    ):
        connection.wait_for_hello()
    assert "restart its Python kernel" in caught.value.hint

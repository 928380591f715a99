"""Running programs: their output, their end, and that nothing of them is left."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scanner.package_managers import command
from scanner.package_managers.command import Command, CommandError, Runner


class Stop(Exception):
    """Somebody wants an end."""


def runner(seconds: float = 60, **settings: object) -> Runner:
    return Runner(time.monotonic() + seconds, **settings)  # type: ignore[arg-type]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def gone(pid: int) -> bool:
    """Whether a process has ended, or does so within seconds; one that nobody has buried yet has ended, too."""
    for _ in range(100):
        try:
            # 4711 (sleep) Z 1 …
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def family(folder: Path) -> list[str]:
    """A program with a child and a grandchild, all asleep, each noting its number."""
    (folder / "pids").touch()
    note = f"echo $$ >> {folder}/pids"
    return shell(f"{note}; sh -c '{note}; sh -c \"{note}; sleep 600; true\"; true'; true")


def pids(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "pids").read_text().split()]


def once(condition: Callable[[], bool]) -> Callable[[], None]:
    """A watch that stops the program as soon as this is true."""

    def watch() -> None:
        if condition():
            raise Stop

    return watch


def test_output_and_exit_code_are_kept_apart() -> None:
    result = runner().run(shell("echo out; echo err >&2; exit 3"))
    assert (result.out, result.err, result.code, result.out_size) == ("out\n", "err\n", 3, 4)


def test_a_program_gets_no_input() -> None:
    assert runner().run(["cat"]).out == ""


def test_an_argument_is_never_read_by_a_shell() -> None:
    assert runner().run(["printf", "%s", "$(id) ; `id` *"]).out == "$(id) ; `id` *"


def test_the_time_limit_ends_a_program_and_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"sh -c .* did not end within the time limit and was stopped"):
        runner(0.6).run(family(tmp_path))
    assert len(pids(tmp_path)) == 3
    assert all(gone(pid) for pid in pids(tmp_path))


def test_a_watch_that_raises_ends_a_program_and_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        runner(watch=once(lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) == 3)).run(family(tmp_path))
    assert all(gone(pid) for pid in pids(tmp_path))


def test_a_child_that_leads_a_process_group_of_its_own_is_ended_too(tmp_path: Path) -> None:
    # An interactive shell's jobs and some maintainer scripts do this; the session stays the same.
    lonely = (
        "import os, pathlib, sys, time; os.setpgid(0, 0);"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
    )
    watch = once(lambda: (tmp_path / "pids").exists() and bool(pids(tmp_path)))
    with pytest.raises(Stop):
        runner(watch=watch).run([*shell('"$@"; true'), "sh", sys.executable, "-c", lonely, str(tmp_path / "pids")])
    assert all(gone(pid) for pid in pids(tmp_path))


def test_what_a_program_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    runner().run(shell(f"sleep 600 & echo $! > {tmp_path}/pids"))
    assert gone(pids(tmp_path)[0])


def test_when_one_of_several_is_stopped_all_are(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="time limit"):
        runner(0.5).run_together(Command(["true"]), Command(family(tmp_path)), Command(["sleep", "600"]))
    assert all(gone(pid) for pid in pids(tmp_path))


def test_several_programs_run_side_by_side(tmp_path: Path) -> None:
    # Each waits for the other: one after the other, neither would end.
    meet = "touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.02; done; echo {1}"
    first, second = (Command(shell(meet.format(tmp_path, *names))) for names in (("a", "b"), ("b", "a")))
    assert [result.out for result in runner().run_together(first, second)] == ["a\n", "b\n"]


def test_status_lines_arrive_while_the_program_runs(tmp_path: Path) -> None:
    def heard(line: str) -> None:
        lines.append(line)
        (tmp_path / "heard").touch()  # the program goes on only when its first line has been read

    lines: list[str] = []
    wait = 'until [ -e "$2" ]; do sleep 0.02; done'
    script = f'echo first >/dev/fd/$1; {wait}; printf "second\\nunfinished" >/dev/fd/$1; echo out'
    result = runner().run(["sh", "-c", script, "sh", "{status_fd}", str(tmp_path / "heard")], heard)
    assert lines == ["first", "second"]
    assert result.out == "out\n"


def test_many_status_lines_all_arrive_in_order() -> None:
    lines: list[str] = []
    runner().run(["sh", "-c", "seq 1 20000 >/dev/fd/$1", "sh", "{status_fd}"], lines.append)
    assert lines == [str(number) for number in range(1, 20001)]


def test_a_status_reader_that_raises_ends_the_program(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        runner().run([*shell(f"echo $$ > {tmp_path}/pids; echo x >/dev/fd/$1; sleep 600"), "sh", "{status_fd}"], stop)
    assert gone(pids(tmp_path)[0])


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandError, match="no-such-program is not installed, may not be run, or is not on PATH"):
        runner().run(["no-such-program"])


def test_a_missing_program_leaves_no_open_file_and_no_other_program(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(CommandError):
            runner().run_together(Command(family(tmp_path)), Command(["no-such-program"], print))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all(gone(pid) for pid in pids(tmp_path))


def test_a_program_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x7fELF and no more")
    (tmp_path / "broken").chmod(0o755)
    result = runner().run([str(tmp_path / "broken")])
    assert result.code != 0
    assert "broken" in result.last_words


def test_programs_are_looked_for_on_the_path_they_get(tmp_path: Path) -> None:
    (tmp_path / "cat").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "cat").chmod(0o755)
    assert runner(environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).run(["cat"]).out == "mine\n"


def test_programs_speak_english_whatever_the_host_speaks() -> None:
    spoken = {
        "LANGUAGE": "de:fr",
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "ja_JP.UTF-8",
        "LC_MESSAGES": "fr_FR",
        "LC_TIME": "de_DE",
    }
    out = runner(environment={**os.environ, **spoken, "KEPT": "yes"}).run(["env"]).out.splitlines()
    assert {line for line in out if line.startswith(("LC_", "LANG"))} == {"LC_ALL=C", "LANGUAGE="}
    assert "KEPT=yes" in out


def test_output_that_is_not_utf_8_is_read_all_the_same() -> None:
    result = runner().run(shell(r"printf 'M\374ller\n'; printf '\377' >&2"))
    assert (result.out, result.err) == ("M\ufffdller\n", "\ufffd")


def test_endless_output_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "OUTPUT_LIMIT", 1 << 20)
    with pytest.raises(CommandError, match="yes printed more than 1 MiB and was stopped"):
        runner().run(["yes"])


def test_the_last_words_are_the_complaints() -> None:
    result = runner().run(shell("printf 'Hit:1\nE: bad\n' >&2; echo chatter; exit 1"))
    assert result.last_words == "E: bad"


def test_the_last_words_of_a_silent_program_are_its_exit_code() -> None:
    assert runner().run(shell("exit 4")).last_words == "sh ended with code 4"

# SPDX-License-Identifier: MIT
"""What Kbuild says, taken apart; what it is told about the compiler there is."""

from __future__ import annotations

from pathlib import Path

from kpmagic.compiler.kbuild import Diagnostic, Kbuild, diagnostics, last_words, undefined

LOG = """\
hello.c: In function 'handler_pre':
hello.c:7:5: warning: unused variable 'x' [-Wunused-variable]
    7 | int x;
      |     ^
/tmp/somewhere/hello.c:12:9: error: 'y' undeclared (first use in this function)
/src/common/include/linux/fs.h:1302:9: warning: 'counted_by' attribute directive ignored
hello.o: warning: objtool: init_module+0x1: no previous ENDBR
make[1]: *** [/src/common/scripts/Makefile.build:255: hello.o] Error 1
make: *** [/src/common/Makefile:2050: /tmp/somewhere] Error 2
"""
MODPOST = """\
ERROR: modpost: "kallsyms_lookup_name" [hello.ko] undefined!
ERROR: modpost: GPL-incompatible module hello.ko uses GPL-only symbol 'register_kprobe'
make[1]: *** [Makefile.modpost:127: Module.symvers] Error 1
"""


def test_errors_come_first_and_have_places() -> None:
    found = diagnostics(LOG)
    assert found[0] == Diagnostic(
        "hello.c", 12, 9, True, "'y' undeclared (first use in this function)"
    )
    assert [each.line for each in found] == [12, 7, 1302]


def test_modpost_names_what_nobody_exports() -> None:
    assert undefined(MODPOST) == ["kallsyms_lookup_name"]
    assert last_words(MODPOST) == "\n".join(MODPOST.splitlines()[:2])
    assert last_words("".join(f"{n}\n" for n in range(20))).split() == [*map(str, range(12, 20))]


def test_silence_is_said() -> None:
    assert last_words("make: *** [x] Error 2\n") == "Kbuild failed and said nothing"


def test_an_older_gcc_is_not_asked_for_what_it_cannot_do() -> None:
    option = "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="
    assert option in Kbuild(Path("/k"), "/usr/bin/gcc-12", "12.2.0").settings
    assert option not in Kbuild(Path("/k"), "/usr/bin/gcc-14", "14.2.0").settings

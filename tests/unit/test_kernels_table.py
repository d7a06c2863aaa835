# SPDX-License-Identifier: MIT
"""The page of kernels and features: made of outcomes, and nothing but what is made."""

from __future__ import annotations

from pathlib import Path

import kernels_table
import pytest

XML = """\
<testsuites><testsuite>
<testcase classname="tests.kernel.test_cases" name="test_case[{k}-counts: count-as-function]"/>
<testcase classname="tests.kernel.test_cases" name="test_case[{k}-places: one-as-function]">
{skipped}</testcase>
<testcase classname="tests.kernel.test_sweep" name="test_sweep[{k}]">{failed}</testcase>
<testcase classname="tests.kernel.test_sweep" name="test_sweep_all[{k}]"><skipped
 message="no mount | here"/></testcase>
</testsuite></testsuites>
"""
LACKS = '<skipped message="5.10.0 has not: types of modules (places.case:7)"/>'


@pytest.fixture
def found(tmp_path: Path) -> kernels_table.Outcomes:
    (tmp_path / "6.12.xml").write_text(XML.format(k="6.12", skipped="", failed=""))
    (tmp_path / "5.10.xml").write_text(XML.format(k="5.10", skipped=LACKS, failed="<failure/>"))
    return kernels_table.gather(list(tmp_path.iterdir()))


def test_outcomes_become_a_page(found: kernels_table.Outcomes) -> None:
    lines = kernels_table.page(found).splitlines()
    aggregations = "Aggregations are made in the kernel, keyed by what stands behind the value."
    assert "| what | 5.10 | 6.12 |" in lines
    assert f"| {aggregations} | 1 | 1 |" in lines
    assert any(line.endswith("| 0, 1 skipped | 1 |") for line in lines)
    assert any(line.endswith("| 0, 1 failed, 1 skipped | 1, 1 skipped |") for line in lines)
    assert "| types of modules | no | yes |" in lines
    assert "| no mount / here | skipped | skipped |" in lines


def test_a_test_that_was_run_again_counts_once(tmp_path: Path) -> None:
    (tmp_path / "6.1.xml").write_text(XML.format(k="6.1", skipped="", failed="<failure/>"))
    (tmp_path / "6.1-again.xml").write_text(XML.format(k="6.1", skipped="", failed=""))
    found = kernels_table.gather(list(tmp_path.iterdir()))
    assert found.kernels == ["6.1"]
    assert sum(sum(counts["6.1"].values()) for counts in found.counts.values()) == 4
    assert not any(counts["6.1"]["failed"] for counts in found.counts.values())


def test_a_page_is_read_back(found: kernels_table.Outcomes) -> None:
    text = kernels_table.page(found)
    assert kernels_table.page(kernels_table.read(text)) == text


def test_the_page_is_as_it_is_made_and_nothing_failed() -> None:
    text = kernels_table.PAGE.read_text()
    shown = kernels_table.read(text)
    assert kernels_table.page(shown) == text
    assert shown.kernels == ["5.10", "6.1", "6.12", "7.2"]
    assert not any(n["failed"] for counts in shown.counts.values() for n in counts.values())
    assert not any("None" in reason or not reason for reason in (*shown.lacks, *shown.others))

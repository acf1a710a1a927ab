"""Trace contexts: what W3C Trace Context takes and refuses, and how a valid one is kept and handed on."""

import pytest

from app.domain import traces

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (PARENT, PARENT),
        (PARENT.replace("-01", "-00"), PARENT.replace("-01", "-00")),
        (PARENT.replace("-01", "-ff"), PARENT.replace("-01", "-03")),  # flags that nobody knows are cleared
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-holds", PARENT),
        (f"cc{PARENT[2:]}", PARENT),
    ],
)
def test_a_valid_parent_is_kept(given: str, kept: str) -> None:
    """As one of the version that is known here."""
    assert traces.read([given]) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{TRACE[:-1]}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-1",
        f"00-{TRACE}-b7ad6b7169203331-01-more",
        f"cc-{TRACE}-b7ad6b7169203331-01more",
        f"cc-{TRACE}-b7ad6b7169203331-01-{'x' * 500}",
        f" {PARENT}",
        f"{PARENT}\n",
        "0x-zz-zz-zz",
    ],
)
def test_what_is_no_parent_is_ignored(given: str) -> None:
    """Whatever is wrong with it, together with its state."""
    assert traces.read([given], ["a=1"]) is None


def test_two_parents_are_none() -> None:
    """Which of them is meant cannot be known."""
    assert traces.read([PARENT, PARENT]) is None
    assert traces.read([]) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["rojo=1", "congo=2"], "rojo=1,congo=2"),
        (["rojo=1 , ,congo=2,"], "rojo=1,congo=2"),
        (["fw529a3039@dt=FfAAAADA;x y"], "fw529a3039@dt=FfAAAADA;x y"),
        ([",".join(f"k{n}=v" for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
        ([",".join(f"k{n}=v" for n in range(33))], None),
        (["rojo=1,rojo=2"], None),
        (["Rojo=1"], None),
        (["rojo=1=2"], None),
        (["rojo="], None),
        (["rojo"], None),
        (["rojo=\x07"], None),
        ([f"a={'x' * 200},b={'x' * 200},c={'x' * 200}"], None),
        ([""], None),
    ],
)
def test_a_state_is_whole_or_left_out(given: list[str], kept: str | None) -> None:
    """One that is not valid, or longer than 512 characters, does not spoil its parent."""
    found = traces.read([PARENT], given)
    assert found is not None
    assert traces.fields(found) == {"traceparent": PARENT} | ({} if kept is None else {"tracestate": kept})


def test_the_context_of_a_span_keeps_trace_flags_and_state() -> None:
    """Without a context the trace is that of the tree of tasks."""
    text = traces.read([PARENT.replace("-01", "-00")], ["a=1"])
    assert traces.of_span(text, "T-1", "1" * 16) == f"00-{TRACE}-{'1' * 16}-00 a=1"
    alone = traces.of_span(None, "T-1", "1" * 16)
    assert alone == f"00-{traces.trace_id_of('T-1')}-{'1' * 16}-01"
    assert traces.read([alone]) == alone
    assert traces.of_span(None, "T-2", "1" * 16) != alone


def test_ids_of_spans_are_known_before_the_spans() -> None:
    """Each attempt and question has its own, the same every time."""
    made = [traces.span_of_attempt("T-1", 1), traces.span_of_attempt("T-1", 2), traces.span_of_question("T-1.1")]
    assert made == [
        traces.span_of_attempt("T-1", 1),
        traces.span_of_attempt("T-1", 2),
        traces.span_of_question("T-1.1"),
    ]
    assert len(set(made)) == 3
    assert all(len(one) == 16 and one.strip("0") for one in made)

"""LangGraph: the interrupts of a graph become questions, and their answers resume it.

Those of LangChain's human-in-the-loop middleware and the older `HumanInterrupt` become decisions about actions. Any
other value is asked as it is, with the schema of its answer if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from swarmhold.adapters.interrupts import review_of
from swarmhold.asking import Hold
from swarmhold.asking.tool_uses import answer_to_model, decide_all
from swarmhold.models.questions import Question
from swarmhold.questions import answer_of

try:
    from langgraph.types import Command, Interrupt, interrupt
except ImportError as error:
    raise ImportError("swarmhold.adapters.langgraph needs LangGraph: pip install 'langgraph>=1.2'") from error

_ASK_HUMAN = "ask_human"


async def run(graph: Any, input: Any, config: Mapping[str, Any], hold: Hold) -> Any:
    """Run a compiled graph until it ends, and return its values; people answer its interrupts.

    The graph needs a checkpointer that outlives the process, and `config` its `thread_id`. A thread that waits goes on
    where it stopped, without `input`; one that has ended begins a new turn with it.

    Raises:
        AlreadyConsumed: a run that was cut off got an approval, and may have carried its action out.
        Unanswered: a question other than that for an approval was withdrawn or has expired.
    """
    state = await graph.aget_state(config)
    if state.next and not state.interrupts:
        # It was cut off while it worked: what was approved must not begin again.
        await _answers(hold, (await graph.aget_state(state.config)).interrupts)
    if not state.interrupts:
        await graph.ainvoke(None if state.next else input, config)
        state = await graph.aget_state(config)
    while state.interrupts:
        await graph.ainvoke(Command(resume=await _answers(hold, state.interrupts)), config)
        state = await graph.aget_state(config)
    return state.values


def ask_human(question: str, choices: list[str] | None = None) -> Any:
    """Ask a person a question and wait for the answer, however long it takes. `choices` are the answers allowed."""
    return interrupt({"type": _ASK_HUMAN, "question": question, "choices": choices})


async def _answers(hold: Hold, interrupts: Sequence[Interrupt]) -> dict[str, Any]:
    """Return the answers to interrupts by their ids, once all are there."""
    asked = {one.id: await _ask(hold, one) for one in interrupts}
    # Approvals are consumed last, when nothing more has to be waited for.
    closed = {name: await hold.wait(questions) for name, questions in asked.items()}
    return {one.id: await _answer(hold, one, closed[one.id]) for one in interrupts}


async def _ask(hold: Hold, raised: Interrupt) -> list[Question]:
    once, value, schema = f"langgraph:{raised.id}", raised.value, raised.response_schema
    if review := review_of(value, schema):
        return [
            await hold.begin(one.description, once=f"{once}:{index}", action=one.action, allowed=one.allowed)
            for index, one in enumerate(review.requests)
        ]
    if _is_ask_human(value):
        return [await hold.begin(value["question"], once=once, choices=value["choices"] or None)]
    return [await hold.begin(value, once=once, answer_schema=schema if isinstance(schema, dict) else None)]


async def _answer(hold: Hold, raised: Interrupt, closed: Sequence[Question]) -> Any:
    if review := review_of(raised.value, raised.response_schema):
        return review.write(await decide_all(hold, closed))
    return (answer_to_model if _is_ask_human(raised.value) else answer_of)(closed[0])


def _is_ask_human(value: Any) -> bool:
    return isinstance(value, dict) and cast("dict[str, Any]", value).get("type") == _ASK_HUMAN

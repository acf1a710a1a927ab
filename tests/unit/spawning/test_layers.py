"""What each shipped layer does to an attempt, and in which order they stand."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.attempts import DispatchOutcome, Outcome, Phase, Reason
from app.domain.errors import DispatchFailed, PayloadTooLarge
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.adapters.external import ExternalSpawner
from app.spawning.adapters.queue import QueueSpawner
from app.spawning.backends.protocols import OperatorBackend, SpawnHook
from app.spawning.backends.registry import Registry
from app.spawning.layers import shipped_layers
from app.spawning.layers.input_inject import InputInjectLayer
from app.spawning.layers.main_ai import MainAiLayer
from app.spawning.ports import (
    Control,
    Draft,
    Escalate,
    Exit,
    Job,
    Layer,
    LayerRegistry,
    Lookup,
    Spawn,
    SpawnerAdapter,
    SpawnFailed,
    SpawnRefused,
    Worker,
)
from app.spawning.stack import ActiveStack, SpawnerStack, active_layers, link
from tests.support.backends import Calls, ScriptedBackend, ScriptedHook
from tests.support.control import TASK, RecordedControl, automated, facts, job
from tests.support.scripted import ScriptedSpawner

PASSED = DispatchOutcome(outcome=Outcome.PASS, value=Json.of(1), reason=Reason.FINAL)


class Swarm:
    """The part of an engine that `link` looks at, with its registries."""

    def __init__(self, *, strict_hints: bool = False, extra: tuple[Layer, ...] = ()) -> None:
        self.hooks = Registry[SpawnHook]()
        self.operators = Registry[OperatorBackend]()
        self.strict_hints = strict_hints
        self.layer_registry = shipped_layers(hooks=self.hooks, operators=self.operators, long_hold_s=1.0, extra=extra)

    def linked(self, *hints: str, router: SpawnerAdapter | None = None) -> SpawnerStack:
        """A stack around a spawner that starts nothing."""
        return link(router or ExternalSpawner(), hints, self)

    def active(self, *hints: str, router: SpawnerAdapter | None = None, **fields: Any) -> ActiveStack:
        """What acts on an attempt with these facts."""
        return self.linked(*hints, router=router).resolve(facts(layers=hints, **fields))


@pytest.fixture
def swarm() -> Swarm:
    """Nobody is registered yet."""
    return Swarm()


def nothing(key: str) -> Json | None:
    """There are no resources."""
    return None


def resources(values: Mapping[str, Any]) -> Lookup:
    """These and no others."""
    return lambda key: Json.of(values[key]) if key in values else None


def prepared(swarm: Swarm, prompt: str, values: Mapping[str, Any]) -> Draft:
    """The draft after the input layer."""
    draft = Draft(facts=facts(layers=("input_inject",)), prompt=prompt)
    return swarm.linked("input_inject").resolve(draft.facts).prepare(draft, resources(values))


# --- the stack -------------------------------------------------------------------------------------------------------


class Tracing(Layer):
    """Notes when it is passed, on the way in and out."""

    def __init__(self, key: str, trace: list[str]) -> None:
        self.key = key  # pyright: ignore[reportAttributeAccessIssue] - each instance of a test is a layer of its own
        self._trace = trace

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        self._trace.append(f"prepare {self.key}")
        return draft

    async def spawn(self, job: Job, control: Control, inner: Spawn) -> Worker:
        self._trace.append(f"into {self.key}")
        worker = await inner(job, control)
        self._trace.append(f"out of {self.key}")
        return worker

    def watch(self, job: Job, control: Control, worker: Worker) -> Worker:
        self._trace.append(f"watch {self.key}")
        return worker

    def settle(self, final: Final, facts: Any) -> Final:
        self._trace.append(f"settle {self.key}")
        return final

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        self._trace.append(f"after {self.key}")


class Engine:
    """Just enough of one for `link`."""

    def __init__(self, registry: LayerRegistry, *, strict_hints: bool = False) -> None:
        self.layer_registry = registry
        self.strict_hints = strict_hints


async def test_base_layers_are_innermost_and_hints_go_outward_in_the_order_asked() -> None:
    """Spawns pass the outermost first; everything else goes from the inside out."""
    trace: list[str] = []
    layers = {key: Tracing(key, trace) for key in ("base", "a", "b", "unused")}
    registry = LayerRegistry(base=[layers["base"]], hints=[layers["a"], layers["b"], layers["unused"]])
    linked = link(ExternalSpawner(), ["b", "a", "b"], Engine(registry))
    asked = job(layers=("b", "a"))

    active = linked.resolve(asked.facts)
    active.prepare(Draft(facts=asked.facts, prompt=""), nothing)
    await active.spawn(asked, RecordedControl())
    active.settle(Final(value=Json.of(1), ok=True))
    await active.after(asked, RecordedControl(), PASSED)

    assert linked.hints == ("b", "a")
    assert trace == [
        *["prepare base", "prepare b", "prepare a"],
        *["into a", "into b", "into base", "out of base", "out of b", "out of a"],
        *["watch base", "watch b", "watch a"],
        *["settle base", "settle b", "settle a"],
        *["after base", "after b", "after a"],
    ]


def test_unknown_hints_are_skipped_or_refused(swarm: Swarm) -> None:
    """Lenient engines skip them, strict ones say what there is."""
    assert swarm.linked("nonsense", "long_hold").hints == ("long_hold",)
    with pytest.raises(DispatchFailed, match=r"nonsense.*audit.*main_ai"):
        Swarm(strict_hints=True).linked("long_hold", "nonsense")


def test_the_shipped_layers(swarm: Swarm) -> None:
    """Base layers in order, then hints by name."""
    assert swarm.layer_registry.keys() == [
        *["audit", "sink"],
        *["input_inject", "long_hold", "main_ai", "operator_delegate", "senior_escalation"],
    ]


def test_only_layers_that_act_make_the_server_drive(swarm: Swarm) -> None:
    """Asking for a layer that does not apply costs nothing."""
    linked = swarm.linked("main_ai", "operator_delegate")

    assert not linked.resolve(facts()).drives
    assert not linked.resolve(automated(hook_id="h", operator_backend_id="o")).drives
    assert linked.resolve(facts(layers=("main_ai",), hook_id="h")).drives
    assert linked.resolve(facts(layers=("main_ai",), hook_id="h")).gates
    assert not linked.resolve(facts(operator_backend_id="o")).gates
    assert swarm.active("long_hold").drives


def test_what_a_layer_overrides_tells_whether_it_drives_and_settles() -> None:
    """Nobody has to declare it beside the methods, so that the two cannot disagree."""

    class Quiet(Layer):
        key = "quiet"

    class Afterwards(Quiet):
        async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
            """Something."""

    class Deciding(Quiet):
        def settle(self, final: Final, facts: Any) -> Final:
            return final

    assert [(layer.drives, layer.settles) for layer in (Quiet, Afterwards, Deciding)] == [
        (False, False),
        (True, False),
        (False, True),
    ]


async def test_a_step_after_the_end_that_breaks_stops_no_other() -> None:
    """It is logged; the layers around it have their turn."""
    trace: list[str] = []

    class Broken(Layer):
        key = "broken"

        async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
            raise LookupError("no such hook")

    registry = LayerRegistry(base=[Broken(), Tracing("outer", trace)])
    await link(ExternalSpawner(), (), Engine(registry)).resolve(facts()).after(job(), RecordedControl(), PASSED)

    assert trace == ["after outer"]


class Plain:
    """A spawner of another package, which says nothing about what is optional."""

    kind = "plain"
    spec: dict[str, Any] = {"kind": "plain"}  # noqa: RUF012 - a constant of the test
    first_phase = Phase.SPAWNING
    outlives_server = False
    leased = False

    async def spawn(self, job: Job, control: Control) -> Worker:
        raise NotImplementedError

    async def rejoin(self, job: Job, control: Control) -> Worker:
        raise NotImplementedError

    async def reap(self, job: Job, grace_s: float) -> None:
        raise NotImplementedError


def test_spawners_say_whether_the_server_drives_and_who_gets_the_handle(swarm: Swarm) -> None:
    """What a spawner does not say is the usual: the server drives it, and the worker alone gets the handle."""
    seen = {
        spawner.kind: (active.detached, active.hands_out_handle, swarm.linked(router=spawner).may_drive)
        for spawner in (ExternalSpawner(), QueueSpawner("q"), Plain())
        for active in [swarm.active(router=spawner)]
    }

    assert seen == {
        "external": (True, True, False),
        "queue": (True, False, False),
        "plain": (False, False, True),
    }
    assert swarm.linked("long_hold").may_drive


# --- audit -----------------------------------------------------------------------------------------------------------


def test_audit_notes_who_started_what_through_what(swarm: Swarm) -> None:
    """Session, spawner and layers, for the started event."""
    draft = Draft(facts=facts(session_id="S-1", spawner="queue", layers=("long_hold",)), prompt="p")

    assert dict(swarm.linked("long_hold").resolve(draft.facts).prepare(draft, nothing).notes) == {
        "by": "S-1",
        "spawner": "queue",
        "layers": ["long_hold"],
    }


# --- sink ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (("text", True), ("text", True)),
        (({"type": "final"}, True), ({"type": "final"}, True)),
        (({"type": "final", "content": 1, "ok": True}, True), ({"type": "final", "content": 1, "ok": True}, True)),
        (({"type": "final", "content": {"kind": "inline", "value": [1]}, "ok": True}, True), ([1], True)),
        (({"type": "final", "content": {"kind": "inline", "value": None}, "ok": False}, True), (None, False)),
        (({"ok": True, "content": {"kind": "inline", "value": 1}, "type": "final"}, False), (1, False)),
        (
            ({"type": "final", "content": {"kind": "file_ref", "path": "a.txt"}, "ok": True}, True),
            ({"kind": "file_ref", "path": "a.txt"}, True),
        ),
    ],
)
def test_a_final_spelled_as_an_output_event_counts_as_that_event(
    swarm: Swarm, sent: tuple[Any, bool], meant: tuple[Any, bool]
) -> None:
    """Value and ok come out of the event; whatever is not exactly one stays as it is."""
    final = swarm.active(router=Plain()).settle(Final(value=Json.of(sent[0]), ok=sent[1]))

    assert final == Final(value=Json.of(meant[0]), ok=meant[1])


def test_what_a_worker_submits_by_itself_is_never_read_as_an_event(swarm: Swarm) -> None:
    """A worker outside says exactly what it means."""
    final = Final(value=Json.of({"type": "final", "content": {"kind": "inline", "value": 1}, "ok": False}), ok=True)

    assert swarm.active().settle(final) is final
    assert active_layers(swarm.layer_registry, facts(), detached=True).settle(final) is final


def test_what_a_worker_submitted_by_itself_is_taken_as_it_is(swarm: Swarm) -> None:
    """It said ok or not in its request, so that a value is never read for more than it is."""
    final = Final(value=Json.of({"type": "final", "content": {"kind": "inline", "value": 1}, "ok": False}), ok=True)

    assert swarm.active().settle(final) is final
    assert swarm.active(router=QueueSpawner("q")).settle(final) is final


def test_a_plain_final_passes_the_base_layers_untouched(swarm: Swarm) -> None:
    """The very same object, never decoded."""
    final = Final(value=Json.of({"big": "x" * 1000}), ok=True)

    assert swarm.active(router=Plain()).settle(final) is final


# --- main_ai ---------------------------------------------------------------------------------------------------------

HOOKED: dict[str, Any] = {"layers": ("main_ai",), "hook_id": "h"}


async def test_a_hook_that_agrees_lets_the_spawn_through(swarm: Swarm) -> None:
    """It is asked once, before anything starts."""
    calls = Calls()
    swarm.hooks.register("h", ScriptedHook(calls))
    await swarm.active("main_ai", hook_id="h").spawn(job(**HOOKED), RecordedControl())

    assert calls.made == [("before", TASK)]


async def test_a_hook_that_refuses_blocks_with_its_reason(swarm: Swarm) -> None:
    """Nothing inside is started."""
    swarm.hooks.register("h", ScriptedHook(Calls(), reason="not today"))
    with pytest.raises(SpawnRefused) as refused:
        await swarm.active("main_ai", hook_id="h").spawn(job(**HOOKED), RecordedControl())

    assert refused.value.reason == "not today"


async def test_a_hook_that_is_away_is_waited_for_and_one_that_drops_is_asked_again(swarm: Swarm) -> None:
    """The attempt waits through both, then goes on."""
    calls = Calls()
    spawning = asyncio.create_task(swarm.active("main_ai", hook_id="h").spawn(job(**HOOKED), RecordedControl()))
    await asyncio.sleep(0)
    swarm.hooks.register("h", ScriptedHook(calls, gone=True))
    await calls.seen("before")
    swarm.hooks.register("h", ScriptedHook(calls))
    await spawning

    assert calls.made == [("before", TASK)] * 2


async def test_a_hook_that_breaks_fails_the_spawn(swarm: Swarm) -> None:
    """The failure names hook, type and message."""

    class Broken(ScriptedHook):
        async def before(self, job: Job) -> None:
            raise LookupError("no such agent")

    swarm.hooks.register("h", Broken(Calls()))
    with pytest.raises(SpawnFailed) as failed:
        await swarm.active("main_ai", hook_id="h").spawn(job(**HOOKED), RecordedControl())

    assert failed.value.detail == "spawn hook 'h': LookupError: no such agent"


async def test_a_hook_is_notified_of_the_end_at_least_once(swarm: Swarm) -> None:
    """The next registration is notified again when the first one dropped."""
    calls = Calls()
    swarm.hooks.register("h", ScriptedHook(calls, gone=True))
    ending = asyncio.create_task(MainAiLayer(swarm.hooks).after(job(**HOOKED), RecordedControl(), PASSED))
    await calls.seen("after")
    swarm.hooks.register("h", ScriptedHook(calls))
    await ending

    assert calls.made == [("after", "final")] * 2


async def test_main_ai_leaves_automated_attempts_and_those_without_a_hook_alone(swarm: Swarm) -> None:
    """The hook that is there would refuse, and is not asked; the spawner is called all the same."""
    calls = Calls()
    swarm.hooks.register("h", ScriptedHook(calls, reason="never"))
    spawner = ScriptedSpawner()
    for asked in (job(), job(**HOOKED, kind=automated().kind)):
        await swarm.linked("main_ai", router=spawner).resolve(asked.facts).spawn(asked, RecordedControl())

    assert calls.made == []
    assert len(spawner.jobs) == 2


async def test_gates_are_asked_whatever_the_session_says(swarm: Swarm) -> None:
    """What the dispatcher's attempt went through stands before this one: not asked for, automated, each hook once."""
    calls = Calls()
    for hook_id in ("g", "h"):
        swarm.hooks.register(hook_id, ScriptedHook(calls))
    cases: list[tuple[tuple[str, ...], dict[str, Any], int]] = [
        ((), {"gates": ("g",)}, 1),
        ((), {"gates": ("g",), "hook_id": "h"}, 1),
        (("main_ai",), {"gates": ("g",), "hook_id": "h", "kind": automated().kind}, 1),
        (("main_ai",), {"gates": ("g",), "hook_id": "h"}, 2),
        (("main_ai",), {"gates": ("g",), "hook_id": "g"}, 1),
        (("main_ai",), {"hook_id": "h"}, 1),
        ((), {"hook_id": "h"}, 0),
    ]
    for hints, fields, asked in cases:
        calls.made.clear()
        active = swarm.active(*hints, **fields)
        assert active.drives == active.gates == bool(asked)
        await active.spawn(job(layers=hints, **fields), RecordedControl())
        assert calls.made == [("before", TASK)] * asked


async def test_one_gate_that_refuses_is_enough(swarm: Swarm) -> None:
    """All have to agree; at the end all are notified, even where one breaks."""
    calls = Calls()
    swarm.hooks.register("g", ScriptedHook(calls))
    swarm.hooks.register("h", ScriptedHook(calls, reason="no"))
    both: dict[str, Any] = {**HOOKED, "gates": ("g",)}
    with pytest.raises(SpawnRefused):
        await swarm.active("main_ai", gates=("g",), hook_id="h").spawn(job(**both), RecordedControl())
    await MainAiLayer(swarm.hooks).after(job(**both), RecordedControl(), PASSED)

    assert [step for step, _ in calls.made] == ["before", "before", "after", "after"]


# --- senior_escalation -----------------------------------------------------------------------------------------------

FAILED = Final(value=Json.of({"why": "no luck"}), ok=False)


def test_a_final_without_ok_is_held_back_for_the_senior(swarm: Swarm) -> None:
    """The question names reason, agent, attempt and value; a good Final passes."""
    active = swarm.active("senior_escalation")
    decision = active.settle(FAILED)

    assert isinstance(decision, Escalate)
    assert (decision.layer, decision.original) == ("senior_escalation", FAILED)
    assert decision.question.value == {
        "reason": "worker-failed",
        "agent": "coder",
        "task_id": TASK,
        "attempt": 1,
        "value": {"why": "no luck"},
    }
    assert active.settle(Final(value=Json.of(1), ok=True)) == Final(value=Json.of(1), ok=True)


@pytest.mark.parametrize("answer", [{"uphold": True}, {"uphold": True, "because": "right"}])
def test_an_upheld_failure_stands(swarm: Swarm, answer: Any) -> None:
    """The original comes out, not ok."""
    assert swarm.active("senior_escalation").resolve("senior_escalation", FAILED, Json.of(answer)) == FAILED


@pytest.mark.parametrize("answer", ["use 42", {"uphold": False}, {"uphold": 1}, {"uphold": "true"}, None, [True], True])
def test_any_other_answer_makes_it_good(swarm: Swarm, answer: Any) -> None:
    """Original and answer together, ok."""
    both = {"original": {"why": "no luck"}, "senior_answer": answer}

    assert swarm.active("senior_escalation").resolve("senior_escalation", FAILED, Json.of(answer)) == Final(
        value=Json.of(both), ok=True
    )


def test_a_layer_resolves_what_it_held_though_it_applies_no_more() -> None:
    """Its session may have changed while the senior was asked; the answer still counts."""

    class Fickle(Layer):
        key = "fickle"

        def applies(self, facts: Any) -> bool:
            return False

        def resolve(self, original: Final, answer: Json, facts: Any) -> Final:
            return Final(value=answer, ok=True)

    registry, asked = LayerRegistry(hints=[Fickle()]), facts(layers=("fickle",))
    answered = Final(value=Json.of("yes"), ok=True)

    holding = active_layers(registry, asked, detached=False, holding="fickle")
    assert holding.resolve("fickle", FAILED, Json.of("yes")) == answered
    assert active_layers(registry, asked, detached=False).resolve("fickle", FAILED, Json.of("yes")) == FAILED


# --- operator_delegate -----------------------------------------------------------------------------------------------


async def test_the_backend_takes_the_whole_spawn(swarm: Swarm) -> None:
    """Phase, lease, recovery and worker are the backend's, not the dispatched spawner's."""
    done = Exit(final=Final(value=Json.of("by the backend"), ok=True))
    swarm.operators.register("o", ScriptedBackend(Calls(), lambda: done))
    linked = swarm.linked("operator_delegate", router=QueueSpawner("q"))
    taken = job(operator_backend_id="o")

    active = linked.resolve(taken.facts)
    assert active.spawner.spec == {"kind": "operator", "backend_id": "o"}
    assert active.spawner.first_phase is Phase.SPAWNING
    assert not active.detached
    assert await (await active.spawn(taken, RecordedControl())).join() == done
    assert await (await active.rejoin(taken, RecordedControl())).join() == done
    assert linked.resolve(automated(operator_backend_id="o")).spawner.kind == "queue"
    assert linked.resolve(facts()).spawner.kind == "queue"


async def test_the_hook_is_asked_before_the_backend_in_either_order(swarm: Swarm) -> None:
    """Taking the spawn over does not skip the other layers."""
    calls = Calls()
    swarm.hooks.register("h", ScriptedHook(calls, reason="no"))
    swarm.operators.register("o", ScriptedBackend(calls, lambda: None))
    for hints in (("main_ai", "operator_delegate"), ("operator_delegate", "main_ai")):
        both = job(layers=hints, hook_id="h", operator_backend_id="o")
        with pytest.raises(SpawnRefused):
            await swarm.linked(*hints).resolve(both.facts).spawn(both, RecordedControl())
    assert calls.made == [("before", TASK)] * 2


# --- long_hold -------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_outlives_its_limit_is_warned_of(swarm: Swarm) -> None:
    """For an attempt that began long ago the warning comes as soon as it is joined; it goes on."""
    control = RecordedControl()
    worker = await swarm.active("long_hold").spawn(job(started_at=0), control)
    joining = asyncio.create_task(worker.join())
    async with asyncio.timeout(60), control.changed:
        await control.changed.wait_for(lambda: control.held_s)
    assert not joining.done()
    await control.end()
    await joining

    assert len(control.held_s) == 1
    assert control.held_s[0] > 1


async def test_a_rejoined_attempt_is_watched_too(swarm: Swarm) -> None:
    """After a restart the warning still comes."""
    control = RecordedControl()
    worker = await swarm.active("long_hold").rejoin(job(started_at=0), control)
    joining = asyncio.create_task(worker.join())
    async with asyncio.timeout(60), control.changed:
        await control.changed.wait_for(lambda: control.held_s)
    await worker.stop(1)
    await control.end()
    await joining


async def test_an_attempt_that_ends_in_time_is_not_warned_of() -> None:
    """The clock stops with the worker."""
    swarm = Swarm()
    control = RecordedControl()
    far_off = 2**45
    worker = await swarm.active("long_hold").spawn(job(started_at=far_off), control)
    await control.end()
    await worker.join()

    assert control.held_s == []


# --- input_inject ----------------------------------------------------------------------------------------------------


def test_placeholders_are_filled_with_resources(swarm: Swarm) -> None:
    """Text as it is, other values as compact JSON; white space inside the braces does not matter."""
    draft = prepared(
        swarm,
        "A {{resource:name}}, {{ resource: conf }} and {{resource:a b/c}}.",
        {"name": "é", "conf": {"k": [1, None]}, "a b/c": 7},
    )

    assert draft.prompt == 'A é, {"k":[1,null]} and 7.'
    assert dict(draft.notes)["injected"] == ["name", "conf", "a b/c"]
    assert "missing_resources" not in dict(draft.notes)


def test_a_missing_resource_stays_and_is_named(swarm: Swarm) -> None:
    """The placeholder is left for whoever reads the prompt."""
    draft = prepared(swarm, "{{resource:x}} {{resource:y}} {{resource:x}}", {"y": "why"})

    assert draft.prompt == "{{resource:x}} why {{resource:x}}"
    assert dict(draft.notes)["missing_resources"] == ["x"]


def test_what_was_put_in_is_never_looked_at_again(swarm: Swarm) -> None:
    """A resource that holds placeholders cannot ask for more."""
    draft = prepared(swarm, "{{resource:a}}{{resource:b}}", {"a": "{{resource:", "b": "{{resource:a}}"})

    assert draft.prompt == "{{resource:{{resource:a}}"


@pytest.mark.parametrize("prompt", ["plain", "{{resource:}}", "{{ resource }}", "{resource:a}", "{{other:a}}"])
def test_other_text_stays_and_costs_no_look_up(prompt: str) -> None:
    """Only exact placeholders count; without one the draft is the same object."""

    def never(key: str) -> Json | None:
        raise AssertionError(key)

    draft = Draft(facts=facts(), prompt=prompt)
    assert InputInjectLayer().prepare(draft, never) is draft


def test_a_prompt_cannot_be_blown_up_without_limit() -> None:
    """Many placeholders of a large resource are refused before the text is built; bytes count, also those around."""
    layer = InputInjectLayer(longest_prompt=1000)
    draft = Draft(facts=facts(), prompt="{{resource:a}}" * 70)
    assert len(layer.prepare(draft, resources({"a": "x" * 14})).prompt) == 980
    for value in ("x" * 15, "é" * 8):
        with pytest.raises(PayloadTooLarge) as refused:
            layer.prepare(draft, resources({"a": value}))
        assert str(refused.value).startswith("The prompt with its resources exceeds the limit limits.directive of 1000")
    layer.prepare(Draft(facts=facts(), prompt="y" * 900 + "{{resource:a}}"), resources({"a": "x" * 100}))
    with pytest.raises(PayloadTooLarge):
        layer.prepare(Draft(facts=facts(), prompt="y" * 900 + "{{resource:a}}"), resources({"a": "x" * 101}))


def test_each_resource_is_looked_up_once() -> None:
    """All its placeholders get the same value."""
    looked: list[str] = []

    def look(key: str) -> Json | None:
        looked.append(key)
        return Json.of(len(looked))

    draft = InputInjectLayer().prepare(Draft(facts=facts(), prompt="{{resource:a}}{{resource:a}}"), look)
    assert (draft.prompt, looked) == ("11", ["a"])

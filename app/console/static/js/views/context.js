// The context of a question: the worker's prompt, its earlier questions, its outputs.
import { html } from "../../vendor/preact.js";
import { Moment } from "../parts/age.js";
import { Answerer } from "../parts/answerer.js";
import { Badge } from "../parts/badge.js";
import { useFetched } from "../parts/busy.js";
import { Trouble } from "../parts/problem.js";
import { Preview, Text } from "../parts/text.js";
import { fetchQuestion, questionsOfTask } from "../state/questions.js";
import { addressOf } from "../state/route.js";
import { ask } from "../state/session.js";
import { attemptPath, outputsBehind } from "../state/task.js";
import { line, lineOf, questionLine } from "../text/visible.js";

const LATEST = 12;

async function read({ task_id: id, attempt }) {
  const path = `/v1/operator/tasks/${id}`;
  const [task, questions, own] = await Promise.all([
    ask("any", "GET", path),
    questionsOfTask(id).catch(() => []),
    attempt ? ask("any", "GET", attemptPath(id, attempt)).catch(() => null) : null,
  ]);
  const outputs = own?.outputs ? await outputsBehind(own, Math.max(0, own.outputs - LATEST)).catch(() => []) : [];
  return { task, questions, attempt: own, outputs };
}

export function Context({ question }) {
  const { value, problem } = useFetched(() => read(question), [question.key, question.status]);
  if (!value) return html`<${Trouble} problem=${problem} />${!problem && html`<p class="hint">Reading…</p>`}`;
  const { task, attempt, outputs } = value;
  const earlier = value.questions.filter((one) => one.key !== question.key);
  const prompt = attempt?.prompt ?? task.spec.initial_directive;
  return html`
    <section><h2>Prompt</h2><${Text} text=${prompt} label="The worker’s prompt" /></section>
    ${attempt?.system && html`<section><h2>System prompt</h2><${Text} text=${attempt.system} label="The system prompt" /></section>`}
    ${attempt?.prompt && attempt.prompt !== task.spec.initial_directive && html`<section><h2>First directive</h2><${Text} text=${task.spec.initial_directive} label="The first directive" /></section>`}
    <section><h2>Earlier questions</h2>
      ${earlier.length ? html`<ol class="earlier">${earlier.map((one) => html`<li key=${one.key}>
        <p><a href=${addressOf("inbox", one.key)}>${questionLine(one, 200)}</a> <${Badge} status=${one.status} /></p>
        ${one.status === "answered" && html`<blockquote><${Preview} value=${one.answer} cut=${one.cut?.includes("answer")} whole=${async () => (await fetchQuestion(one.key)).answer} label="The answer" /><${Answerer} question=${one} /></blockquote>`}
      </li>`)}</ol>` : html`<p class="hint">None.</p>`}
    </section>
    ${outputs.length > 0 && html`<section><h2>Said so far</h2><ol class="outputs">${outputs.map((one) => html`<li key=${one.seq}>
      <${Moment} at=${one.at} /> <b>${one.type}</b> ${line(summary(one), 240)}</li>`)}</ol></section>`}
    <section><h2>Task</h2><p><a href=${addressOf("task", task.id)}>Open the task</a> <${Badge} status=${task.status} />
      ${Object.entries(task.labels).map(([name, label]) => html` <span class="tag" key=${name}>${line(name, 40)}: ${line(label, 60)}</span>`)}</p></section>
  `;
}

function summary(output) {
  if (output.type === "progress") return [output.stage, output.note].filter(Boolean).join(": ");
  if (output.type === "artifact") return output.name ?? "";
  if (output.cut) return `${Math.ceil((output.chunk ?? output.content).bytes / 1024).toLocaleString()} KiB`;
  if (output.type === "partial") return lineOf(output.chunk, 240);
  return lineOf(output.content?.value ?? output.content, 240);
}

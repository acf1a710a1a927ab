// Beside a question: the task, how far it is, its latest outputs, and what was answered before.
import { html } from "../../vendor/preact.js";
import { Age, Moment } from "../parts/age.js";
import { Answerer } from "../parts/answerer.js";
import { Badge } from "../parts/badge.js";
import { useFetched } from "../parts/busy.js";
import { Trouble } from "../parts/problem.js";
import { Preview, Text } from "../parts/text.js";
import { fetchQuestion, questionsOfTask } from "../state/questions.js";
import { addressOf } from "../state/route.js";
import { ask } from "../state/session.js";
import { attemptPath, outputsBehind } from "../state/task.js";
import { lineOf, questionLine } from "../text/title.js";
import { line } from "../text/visible.js";

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
  const directive = task.spec.initial_directive;
  const earlier = value.questions.filter((one) => one.key !== question.key);
  return html`
    <section><h2>Task</h2>
      <p><a href=${addressOf("task", task.id)}>${line(directive.split("\n").find((one) => one.trim()) ?? "", 120) || "Open the task"}</a> <${Badge} status=${task.status} /></p>
      <p class="hint">started <${Age} at=${task.created_at} suffix=" ago" />${attempt && html`, attempt ${attempt.attempt} by ${line(attempt.worker_id ?? attempt.agent, 60)}`}</p>
      ${Object.entries(task.labels).length > 0 && html`<p>${Object.entries(task.labels).map(([name, label]) => html`<span class="tag" key=${name}>${line(name, 40)}: ${line(label, 60)}</span> `)}</p>`}</section>
    <${Progress} outputs=${outputs} />
    <section><h2>Directive</h2><${Text} text=${directive} label="The task’s directive" /></section>
    ${attempt?.prompt && attempt.prompt !== directive && html`<section><h2>Prompt of this attempt</h2><${Text} text=${attempt.prompt} label="The worker’s prompt" /></section>`}
    ${attempt?.system && html`<section><h2>System prompt</h2><${Text} text=${attempt.system} label="The system prompt" /></section>`}
    <section><h2>Earlier questions</h2>
      ${earlier.length ? html`<ol class="earlier">${earlier.map((one) => html`<li key=${one.key}>
        <p><a href=${addressOf("inbox", one.key)}>${questionLine(one, 200)}</a> ${one.status !== "answered" && html`<${Badge} status=${one.status} />`}</p>
        ${one.status === "answered" && html`<blockquote><${Preview} value=${one.answer} cut=${one.cut?.includes("answer")} whole=${async () => (await fetchQuestion(one.key)).answer} label="The answer" />
          ${one.answer_comment && html`<p class="hint">${line(one.answer_comment, 300)}</p>`}<${Answerer} question=${one} /></blockquote>`}
      </li>`)}</ol>` : html`<p class="hint">None.</p>`}
    </section>
  `;
}

/** How far the worker says it is, and what it put out last, the newest first. */
function Progress({ outputs }) {
  if (!outputs.length) return null;
  const latest = outputs.findLast((one) => one.type === "progress");
  const others = outputs.filter((one) => one !== latest).reverse();
  return html`${latest && html`<section><h2>Progress</h2><p>${line(summary(latest), 240)} <span class="hint"><${Age} at=${latest.at} suffix=" ago" /></span></p></section>`}
    ${others.length > 0 && html`<section><h2>Latest outputs</h2><ol class="outputs">${others.map((one) => html`<li key=${one.seq}>
      <${Moment} at=${one.at} /> <span class="tag">${one.type}</span> ${line(summary(one), 240)}</li>`)}</ol></section>`}`;
}

function summary(output) {
  if (output.type === "progress") return [output.stage, output.note].filter(Boolean).join(": ");
  if (output.type === "artifact") return output.name ?? "";
  if (output.cut) return `${Math.ceil((output.chunk ?? output.content).bytes / 1024).toLocaleString()} KiB`;
  if (output.type === "partial") return lineOf(output.chunk, 240);
  return lineOf(output.content?.value ?? output.content, 240);
}

// The choices of a question, as buttons that show the value itself; the first nine have keyboard shortcuts.
import { html, useMemo, useRef, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { Asker, Word } from "../parts/asker.js";
import { useKeys } from "../state/keys.js";
import { literal } from "../text/literal.js";

const HASTE_MS = 500;
const LONG = 600;

/**
 * Calls `onChoose(value)` at once, but asks once more where the asker marked a danger, and only shows a long value whole at first. A key pressed just as the question appears
 * is ignored: it was meant for another one. One that is pressed while the question is folded unfolds it.
 */
export function Choices({ options, onChoose }) {
  const shown = useRef(performance.now());
  const [unfolded, setUnfolded] = useState(() => new Set());
  const sizes = useMemo(() => options.map(({ value }) => literal(value).length), [options]);
  const keys = useMemo(() => options.slice(0, 9).map((_, index) => String(index + 1)), [options]);
  const isFolded = (index) => sizes[index] > LONG && !unfolded.has(index);
  const [risky, setRisky] = useState(null);
  const choose = (index) => {
    if (isFolded(index)) setUnfolded(new Set([...unfolded, index]));
    else if (options[index].danger) setRisky(index);
    else onChoose(options[index].value);
  };
  const byKey = (index) => (event) => {
    if (event.repeat || performance.now() - shown.current < HASTE_MS) return;
    // A key answers what is wholly shown: at first it unfolds the question.
    const folded = document.querySelector(".asked .fold[aria-expanded=false]");
    if (folded) folded.click();
    else choose(index);
  };
  useKeys(Object.fromEntries(keys.map((key, index) => [key, byKey(index)])));
  return html`<div class="choices" role="group" aria-label="Choices">
    ${options.map(({ value, title, description, danger }, index) => html`<button key=${index} type="button" class=${danger ? "choice danger" : "choice"} onClick=${() => choose(index)} aria-keyshortcuts=${index < 9 ? String(index + 1) : undefined}>
      ${index < 9 && html`<kbd aria-hidden="true">${index + 1}</kbd>`}
      <span class="value">${isFolded(index)
        ? html`<code class="word">${literal(value).slice(0, LONG / 2)}…</code> <span class="hint">Show all ${sizes[index].toLocaleString()} characters before it can be sent</span>`
        : html`<${Word} value=${value} />`}<${Asker} words=${title} /><${Asker} words=${description} />${danger && html`<span class="asker"><span class="tag">asker</span> calls this dangerous: you are asked once more</span>`}</span></button>`)}
    ${risky !== null && html`<${ActDialog} title="Send this answer?" label="Send it" danger=${true} act=${async () => onChoose(options[risky].value)} onDone=${() => setRisky(null)} onClose=${() => setRisky(null)}>
      <p><b><${Word} value=${options[risky].value} /></b></p><p><${Asker} words=${options[risky].title} /></p>
      <p class="hint">The asker marked this answer as dangerous.</p><//>`}
  </div>`;
}

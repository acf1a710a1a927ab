// What to do next where there is nothing yet: a sentence, and the command to copy.
import { html } from "../../vendor/preact.js";
import { Copied } from "../parts/copied.js";
import { may } from "../state/session.js";

/** A command with a button that copies it. */
export function Command({ text }) {
  return html`<div class="command"><pre tabindex="0">${text}</pre><${Copied} text=${text} /></div>`;
}

const server = () => `SWARMHOLD_URL=${location.origin}`;

export function FirstTask({ onNew }) {
  return html`<div class="empty steps"><h2>No task yet</h2>
    <p>A task is a piece of work for an agent. Start one here, or from a shell with your key in <code>SWARMHOLD_KEY</code>:</p>
    <${Command} text=${`${server()} swarmhold run coder "Say hello."`} />
    ${may("operator") && onNew && html`<button type="button" class="main" onClick=${onNew}>Start the first task</button>`}</div>`;
}

const workerOf = (queue) => `python - <<'END'
import asyncio, os
from swarmhold import SwarmholdClient

async def work(job):
    return f"Done: {job.prompt}"

async def main():
    async with SwarmholdClient("${location.origin}") as client:
        await client.queue_worker(os.environ["SWARMHOLD_KEY"], ${JSON.stringify(queue)}, work).run()

asyncio.run(main())
END`;

export function FirstWorker({ queue = "default" }) {
  return html`<div class="empty steps"><h2>No worker listens</h2>
    <p>What is dispatched to a queue waits there until a worker claims it. This one answers every task of the queue <code>${queue}</code>; the key in <code>SWARMHOLD_KEY</code> needs the role worker:</p>
    <${Command} text=${workerOf(queue)} /></div>`;
}

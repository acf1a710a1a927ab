// Parses server-sent events from a fetched body (WHATWG HTML, section 9.2), since EventSource cannot send the credential.

const LONGEST = 16 * 1024 * 1024;

/** Yields {id, event, data} for every message, and null for every comment, which the server sends as a keepalive. */
export async function* messagesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      if (rest.length > LONGEST) throw new Error("a message is too long");
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield messageOf(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function messageOf(block) {
  const message = { id: null, event: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const field = line.slice(0, colon);
    if (field === "data") message.data += message.data ? `\n${value}` : value;
    else if (field === "id" || field === "event") message[field] = value;
  }
  return message.data ? message : null;
}

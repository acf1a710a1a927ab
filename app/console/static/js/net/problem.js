// Errors of the API (RFC 9457), and failures to reach the server.

export class Problem extends Error {
  /** `status` 0: there was no reply, so it is unknown whether the request was carried out. */
  constructor(status, body, retryAfter = null) {
    super(body?.detail || body?.title || (status ? `The server answered ${status}.` : "The server cannot be reached."));
    this.status = status;
    this.code = body?.code ?? (status ? `http-${status}` : "unreachable");
    this.fields = body ?? {};
    this.retryAfter = retryAfter;
  }

  /** Whether the request may succeed when it is repeated later. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

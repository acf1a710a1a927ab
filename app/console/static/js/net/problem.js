// What the server refused (RFC 9457), or that it was not reached.

export class Problem extends Error {
  /** `status` 0: no answer came, so nobody knows whether the call was carried out. */
  constructor(status, body, retryAfter = null) {
    super(body?.detail || body?.title || (status ? `The server answered ${status}.` : "The server cannot be reached."));
    this.status = status;
    this.code = body?.code ?? (status ? `http-${status}` : "unreachable");
    this.fields = body ?? {};
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may succeed a little later. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

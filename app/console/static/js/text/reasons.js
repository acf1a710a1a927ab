// Why attempts end, in people's words, by the server's names for it.
export const REASONS = {
  final: "Its worker said that the work did not succeed.",
  "spawn-failed": "Its worker could not be started.",
  refused: "It was not allowed to start.",
  "worker-failed": "Its worker failed.",
  timeout: "Its attempt took longer than it may.",
  lost: "Its worker was lost: no heartbeat came in time.",
  cancelled: "It was cancelled.",
  verdict: "Somebody set it by hand.",
  revoked: "The credential that it was dispatched with is no longer valid.",
  deadline: "A question was not answered in time.",
};

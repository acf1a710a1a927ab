// The order of the inbox.

/** The nearest deadline first, then the oldest. */
export function byUrgency(one, other) {
  const first = one.deadline ?? "~";
  const second = other.deadline ?? "~";
  if (first !== second) return first < second ? -1 : 1;
  if (one.asked_at !== other.asked_at) return one.asked_at < other.asked_at ? -1 : 1;
  return one.key < other.key ? -1 : 1;
}

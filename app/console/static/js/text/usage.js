// Tokens and cost in few characters.

const UNITS = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** A count with three digits and a unit: `999`, `12.3k`, `4.57M`. */
export function count(number) {
  for (const [size, unit] of UNITS) if (number >= size) return `${Number((number / size).toPrecision(number < 999.5 * size ? 3 : 4))}${unit}`;
  return String(number);
}

/** What was used: `12.3k in, 1.2k out, cost 0.0415`; empty when nothing was reported. */
export function usedText({ input_tokens: input, output_tokens: output, cost } = {}) {
  const parts = [input !== undefined && `${count(input)} in`, output !== undefined && `${count(output)} out`, cost !== undefined && `cost ${Number(cost.toPrecision(4))}`];
  return parts.filter(Boolean).join(", ");
}

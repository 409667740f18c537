/** Resolves as soon as `condition` holds; rejects when it does not within `ms`. */
export async function until(condition: () => boolean, ms = 3000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Lets the air carry on for a while, to see that something does not happen. */
export function aWhile(ms = 250): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

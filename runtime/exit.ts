/** Exit codes of all programs (docs/design.md §8). */
export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, unreachable: 4, notReady: 5, pending: 6 } as const;

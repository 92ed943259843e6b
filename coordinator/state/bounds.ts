/** How long what may take with a store that several Coordinators share. Milliseconds of a clock that nobody sets. */

/** How often the pointer in the store is looked at. */
export const CONFIRM_MS = 1000;

/** How long what the store said counts: after that nothing is issued until it has said it again. */
export const CONFIRM_BOUND_MS = 15_000;

/** After so long without a look at the clock the process was paused: what the store said before counts no more. */
export const PAUSE_MS = 3000;

/**
 * How long a new mesh CA waits for a peer that has it, too, before anything is issued by it. A Coordinator that is killed
 * right after its set takes no certificate with it then.
 */
export const HOLD_MS = 1000;

/** How long a Coordinator that is behind waits for a peer that has what is in force, before it makes a mesh CA of its own. */
export const TAKEOVER_MS = 5000;

/** Limits that nobody can set, of both engines. The native one has the last of them in `engine/core/src/limits.rs`. */

/** How long a connection may take to be made, and then a handshake with an upstream; a slow peer can't hold it for longer. */
export const DEADLINE_MS = 10_000;

/** What a peer said before it went away is given up when the other one takes none of it for so long. */
export const STALLED_MS = 60_000;

/**
 * What a peer may send until its handshake is done. A chain of the mesh has at most 9 KiB; the rest of a handshake takes less
 * than 3. One with a ticket of TLS in it takes more, and then the chain is short.
 */
export const MOST_HANDSHAKE_BYTES = 12 * 1024;

/**
 * What the agent's engine takes (kata-containers 4.1.0, src/agent/policy/src/policy.rs; regorus, lexer.rs): a policy beyond
 * that is not loaded, and the VM runs nothing.
 */
export const ENGINE_LIMITS = {
  /** Bytes of a line, and one for its end. */
  lineBytes: 64 * 1024,
  bytes: 16 * 1024 * 1024,
  /** With the empty one behind the last end of a line. */
  lines: 200_000,
} as const;

/** @returns what the engine would not take of a policy; undefined: it takes all of it */
export function beyondEngine(rego: string): { readonly got: string; readonly want: string } | undefined {
  const bytes = Buffer.byteLength(rego);
  if (bytes > ENGINE_LIMITS.bytes) {
    return { got: `a policy of ${bytes} bytes`, want: `at most ${ENGINE_LIMITS.bytes}` };
  }
  const lines = rego.split("\n");
  if (lines.length > ENGINE_LIMITS.lines) {
    return { got: `a policy of ${lines.length} lines`, want: `at most ${ENGINE_LIMITS.lines}` };
  }
  const long = lines.find((line) => Buffer.byteLength(line) >= ENGINE_LIMITS.lineBytes);
  if (long === undefined) return undefined;
  // It begins with the name of its field. What follows may be a secret.
  const [, field = "a text"] = /^\s*"([^"]{1,60})":/.exec(long) ?? [];
  return {
    got: `${Buffer.byteLength(long)} bytes in one line of the policy: ${field}`,
    want: `a shorter one: the agent's engine takes lines of less than ${ENGINE_LIMITS.lineBytes} bytes`,
  };
}

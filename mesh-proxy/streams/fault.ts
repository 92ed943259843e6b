import type { ConnectionCode, ConnectionFact } from "../connection-faults.ts";

/** Why a connection was refused, or broke. */
export class ConnectionFault extends Error implements ConnectionFact {
  readonly code: ConnectionCode;
  readonly got: string | undefined;

  constructor(code: ConnectionCode, got?: string) {
    super(code);
    this.code = code;
    this.got = got;
  }
}

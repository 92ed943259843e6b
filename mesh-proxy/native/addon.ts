import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { MeshProxyError } from "../faults.ts";

/** The seam between Node and the engine: the shapes of `mesh-proxy/engine/node/src`. Nothing passes here per byte. */

export interface EngineSettings {
  readonly threads: number;
  readonly ingressConnections: number;
  readonly ingressConnectionsOfSource: number;
  /** Of each route. */
  readonly egressConnections: number;
  readonly handshakes: number;
  readonly handshakesOfSource: number;
  readonly heldBytes: number;
  readonly heldBytesOfSource: number;
  /** From this number on a descriptor is one of those that are kept free. */
  readonly descriptors: number;
  readonly handshakeMs: number;
  readonly upstreamMs: number;
  readonly stalledMs: number;
  readonly hasAccessLog: boolean;
  /** Only a measurement of full handshakes wants no sessions resumed (bench/mesh/changed-engine.ts). */
  readonly resumes: boolean;
}

export interface EngineCredentials {
  readonly certChain: Buffer;
  readonly key: Buffer;
  readonly meshCa: Buffer;
  readonly allows12: boolean;
}

export interface PortSettings {
  /** The number of the rule that counts. */
  readonly rule: number;
  readonly allowedSans?: readonly string[];
  readonly proxyProtocol: boolean;
}

export interface Opening {
  /** An address with its port; or `fd`, a socket that listens already. */
  readonly address?: string;
  readonly fd?: number;
  readonly tls: "mutual" | "server" | "upstream" | "none";
  readonly isEgress: boolean;
  /** An address with its port. Without it, and without `original`, the event `lookup` asks for addresses. */
  readonly target?: string;
  readonly original?: { readonly own: readonly number[]; readonly only?: readonly number[] };
  /** Of egress: what the rule names, for SNI. */
  readonly host: string;
  readonly pinnedSan?: string;
  readonly ports: readonly { readonly port: number; readonly settings: PortSettings }[];
  readonly otherwise: PortSettings;
}

interface Event {
  readonly route: number;
}

interface OfConnection extends Event {
  readonly rule: number;
  /** Address and port of the client, and those that it connected to. */
  readonly peer?: string;
  readonly local?: string;
  /** The peer's, DER. */
  readonly certificate?: Buffer;
}

/** A connection was refused, or broke. */
export interface FaultEvent extends OfConnection {
  readonly kind: "fault";
  /** Who it is counted for; empty: the application of the pod. */
  readonly source: string;
  readonly code: string;
  readonly got?: string;
}

/** Nothing is left of a connection. Only with an access log. */
export interface EndedEvent extends OfConnection {
  readonly kind: "ended";
  readonly upstream?: string;
  readonly tls?: {
    readonly version: string;
    readonly cipher: string;
    readonly group?: string;
    readonly resumed: boolean;
  };
  readonly outcome: "completed" | "refused" | "broken";
  readonly code?: string;
  readonly wasJoined: boolean;
  readonly up: number;
  readonly down: number;
  readonly millis: number;
}

export type EngineEvent =
  | FaultEvent
  | EndedEvent
  | (Event & { readonly kind: "lookup" | "paused" })
  | (Event & { readonly kind: "notAccepted"; readonly got: string });

export interface EngineRuleCounts {
  readonly open: number;
  readonly completed: number;
  readonly refused: number;
  readonly broken: number;
  readonly refusals: readonly { readonly code: string; readonly count: number }[];
  readonly up: number;
  readonly down: number;
  readonly buffered: number;
  /** Of each bucket by itself. */
  readonly handshakes: readonly number[];
  readonly handshakeSeconds: number;
}

export interface EngineUsed {
  readonly ingress: number;
  readonly ingressOfSource: number;
  readonly egressOfRoute: number;
  readonly handshakes: number;
  readonly handshakesOfSource: number;
  readonly handshakesWaiting: number;
  readonly heldBytes: number;
  readonly heldBytesOfSource: number;
  readonly eventsLost: number;
}

export interface NativeEngine {
  /** New connections are made with it when it returns. Throws where it is no set; then nothing has changed. */
  setCredentials(credentials: EngineCredentials): void;
  /** Listens when it returns. Throws with the name of a system error, such as EADDRINUSE. */
  open(opening: Opening): { readonly id: number; readonly address?: string };
  /** Answers the event `lookup`. @param why there are no addresses */
  setAddresses(route: number, addresses: readonly string[], why?: string): void;
  /** Accepts no more connections of a route; those that it has go on. */
  stop(route: number): void;
  resetAll(): void;
  /** Resets connections for which the kernel holds so many bytes together, the heaviest of the heaviest source first. */
  shed(bytes: number): void;
  takeEvents(): readonly EngineEvent[];
  /** By the numbers of the rules. */
  counts(): readonly EngineRuleCounts[];
  used(): EngineUsed;
  /** Ends all threads, and with them what connections are left. */
  exit(): void;
}

export interface EngineAddon {
  /** Begins what takes long and needs no settings. */
  prepare(): void;
  /** @param onEvents is called when there are events to take */
  create(settings: EngineSettings, onEvents: () => void): NativeEngine;
}

const require = createRequire(import.meta.url);

/** Where `npm run build:engine` puts it, seen from the source and from dist/. */
const BUILT = ["../../", "../../../"].map((root) =>
  join(import.meta.dirname, root, "node_modules", ".cache", "engine", "engine.node"),
);

/** The package of npm that has the engine for a machine with glibc. @param cpu as Node calls it */
export function enginePackage(cpu: string): string {
  return `@contrast-mesh/engine-linux-${cpu}-gnu`;
}

/** @returns undefined where nobody built it for this machine */
export function engineFile(): string | undefined {
  return BUILT.find((path) => existsSync(path)) ?? installedEngine();
}

function installedEngine(): string | undefined {
  try {
    return require.resolve(enginePackage(process.arch));
  } catch {
    return undefined;
  }
}

/** While the program is loaded, the engine gathers entropy: either takes as long as the other. */
export function prepareEngine({ CONTRAST_ENGINE: engine }: NodeJS.ProcessEnv): void {
  const file = engineFile();
  if (engine === "streams" || file === undefined) return;
  try {
    loadAddon(file).prepare();
  } catch {
    // The program says what is wrong.
  }
}

/** @param file where it is; undefined: nobody built it @throws MeshProxyError `engine` */
export function loadAddon(file: string | undefined = engineFile()): EngineAddon {
  try {
    if (file === undefined) throw new Error("there is no engine.node");
    return require(file) as EngineAddon;
  } catch (cause) {
    throw new MeshProxyError("engine", "the native engine can't be loaded", {
      where: file ?? enginePackage(process.arch),
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "run npm run build:engine, or npm install with optional dependencies, or set CONTRAST_ENGINE=streams, which is slower",
      cause,
    });
  }
}

import type { Program } from "./processes.ts";

/** What a kind of proxy is to the bench: two programs with the same certificates, one before the other. */

export const PORT = 8080;
export const BACKEND = "127.76.0.1";

export interface Paths {
  /** Holds the certificates, and the configuration files of the peers. */
  readonly folder: string;
  /** The mesh proxy as it is in its image. */
  readonly shipped: Shipped;
}

export interface Shipped {
  readonly node: string;
  readonly main: string;
}

export interface Options {
  /** Where not, each connection costs a full handshake. */
  readonly isResuming: boolean;
  /** The DNS name that the egress proxy requires of its upstream; "server" where left out. */
  readonly name?: string;
  /** Listens between the two proxies. */
  readonly relay?: string;
}

export interface Addresses {
  readonly egress: string;
  /** What the egress proxy connects to: the ingress proxy, or what is before it. */
  readonly upstream: string;
  readonly ingress: string;
}

export type Programs = (addresses: Addresses, paths: Paths, options: Options) => Promise<readonly [Program, Program]>;

export interface Kind {
  readonly name: string;
  /** Undefined: it is the project's own. */
  readonly binary?: string;
  /** How to get the binary. */
  readonly install?: string;
  readonly version: readonly [string, ...string[]];
  /** With larger buffers than its defaults; of interest only where much is carried. */
  readonly isTunedForBulk?: true;
  /** Of the mesh proxy: it shows the cost of so many threads, and competes with nobody. */
  readonly threads?: number;
  readonly programs: Programs;
}

import { engineFile } from "../mesh-proxy/native/addon.ts";
import type { EngineName } from "../mesh-proxy/observe/metrics.ts";

/**
 * What carries the connections of mesh proxies in tests: the environment says it, as for the program, and else it is
 * Node's streams, which are there on every machine. `CONTRAST_ENGINE=native npx vitest run test/mesh` is the other way.
 */
export const ENGINE: EngineName = process.env["CONTRAST_ENGINE"] === "native" ? "native" : "streams";

if (ENGINE === "native" && engineFile() === undefined) {
  throw new Error("CONTRAST_ENGINE=native, and there is no engine: npm run build:engine");
}

/** For the names of tests about what only one of the two has. */
export const ONLY_STREAMS = ENGINE === "streams" ? "" : " (skipped: of the engine streams alone)";
export const ONLY_NATIVE = ENGINE === "native" ? "" : " (skipped: of the native engine alone)";

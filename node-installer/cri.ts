import { Client, credentials } from "@grpc/grpc-js";
import { NodeError } from "./error.ts";
import type { RuncOptions } from "./handler.ts";

/**
 * Asks containerd what it has loaded: `Status` with `verbose`, the only view of all of its files together
 * (kubernetes/cri-api, pkg/apis/runtime/v1/api.proto; containerd, internal/cri/server/status.go).
 */
export interface LoadedRuntimes {
  /** Names of handlers, and the options of each. */
  readonly handlers: Readonly<Record<string, RuncOptions>>;
}

const METHOD = "/runtime.v1.RuntimeService/Status";
/** StatusRequest { verbose: true } */
const VERBOSE = Buffer.from([0x08, 0x01]);

/**
 * @param socket path of containerd's
 * @throws NodeError containerd_unreachable
 */
export async function askRuntimes(socket: string, timeoutMs: number, now: () => number): Promise<LoadedRuntimes> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), { "grpc.default_authority": "localhost" });
  try {
    const answer = await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        METHOD,
        (request: Buffer) => request,
        (response) => response,
        VERBOSE,
        { deadline: now() + timeoutMs },
        (error, response) => (response === undefined ? reject(error ?? new Error("no answer")) : resolve(response)),
      );
    });
    return runtimesOf(answer);
  } catch (error) {
    throw new NodeError("containerd_unreachable", "containerd does not say which handlers it has", {
      where: socket,
      got: (error as Error).message,
      want: "its CRI plugin, runtime.v1.RuntimeService",
      cause: error,
    });
  } finally {
    client.close();
  }
}

/** StatusResponse.info is field 2, a map of strings; its `config` is the CRI plugin's, as JSON. */
export function runtimesOf(answer: Uint8Array): LoadedRuntimes {
  for (const entry of fieldsOf(answer).filter(({ number }) => number === 2)) {
    const [key, value] = [1, 2].map((number) => fieldsOf(entry.bytes).find((field) => field.number === number)?.bytes);
    if (Buffer.from(key ?? []).toString() !== "config") continue;
    const { containerd } = JSON.parse(Buffer.from(value ?? []).toString()) as {
      containerd?: { runtimes?: Record<string, { options?: RuncOptions | null }> };
    };
    const runtimes = Object.entries(containerd?.runtimes ?? {});
    return { handlers: Object.fromEntries(runtimes.map(([name, { options }]) => [name, options ?? {}])) };
  }
  return { handlers: {} };
}

/** The fields of a message that have bytes; others are skipped (https://protobuf.dev/programming-guides/encoding/). */
function fieldsOf(message: Uint8Array): { readonly number: number; readonly bytes: Uint8Array }[] {
  const fields: { number: number; bytes: Uint8Array }[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) varint();
    else if (kind === 2) {
      const length = varint();
      fields.push({ number, bytes: message.subarray(at, at + length) });
      at += length;
    } else throw new Error(`a field of kind ${kind} in an answer of containerd`);
  }
  return fields;
}

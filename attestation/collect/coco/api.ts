import { request } from "node:http";
import { quote } from "../../../runtime/fault.ts";
import { EvidenceError } from "../../error.ts";

/**
 * The attestation API of CoCo's guest components (api-server-rest, src/router.rs), which answers on loopback inside the
 * guest where the measured kernel command line has `agent.guest_components_rest_api=attestation`, or `all`.
 *
 * It answers everybody on loopback, and nothing shows who answers: what comes from there is trusted as little as what
 * comes over a network. Evidence that was made for something else is noticed, as always.
 */
export interface CocoApi {
  /** `127.0.0.1:8006`. */
  readonly address: string;
  /**
   * How to get there where everybody else is kept away: runs `use` with the local port that it has to connect from, or
   * undefined for any.
   *
   * @throws where nobody can be kept away
   */
  readonly through: <T>(use: (localPort: number | undefined) => Promise<T>) => Promise<T>;
}

/** A quote of TDX may take the host's quoting service seconds; a peer waits 20 for the whole exchange. */
const DEADLINE_MS = 15_000;
const PROBE_DEADLINE_MS = 2_000;
/** Each byte of report, certificates and signature is a number with up to four letters; an event log may come along. */
const MAX_BODY = 4 * 1024 * 1024;
const MAX_ERROR = 4096;

const WANT = "CoCo's attestation API";
const HINT_ENABLE =
  "the guest's kernel command line has to have agent.guest_components_rest_api=attestation, which is measured";
const HINT_OLD = "the guest components have to be of version 0.21 or later: earlier ones don't know encoding=base64";

interface HttpAnswer {
  readonly status: number;
  readonly body: Buffer;
}

/**
 * Whether somebody serves evidence there. The route answers 400 without its parameter, and 404 where it is off.
 *
 * @throws EvidenceError tee_unavailable, saying why not
 */
export async function probeCocoApi({ address }: Pick<CocoApi, "address">, localPort?: number): Promise<void> {
  const { status } = await get(address, "/aa/evidence", { deadline: PROBE_DEADLINE_MS, localPort });
  if (status === 400) return;
  throw refusal(address, `status ${status}`, status === 404 ? HINT_ENABLE : "another program listens there");
}

/** Whether evidence may be had there, now or in a moment: anything but a closed port, or a server without the route. */
export async function mayServeEvidence({ address }: Pick<CocoApi, "address">): Promise<boolean> {
  try {
    const { status } = await get(address, "/aa/evidence", { deadline: PROBE_DEADLINE_MS, localPort: undefined });
    return status !== 404;
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    const { cause } = error;
    return !(cause instanceof Error && "code" in cause && cause.code === "ECONNREFUSED");
  }
}

/**
 * @param reportData 64 bytes
 * @returns the body, which is of the form of its TEE
 * @throws EvidenceError tee_unavailable
 */
export function fetchCocoEvidence({ address, through }: CocoApi, reportData: Uint8Array): Promise<Buffer> {
  // Without padding, as the server's decoder wants it.
  const path = `/aa/evidence?runtime_data=${Buffer.from(reportData).toString("base64url")}&encoding=base64`;
  return through(async (localPort) => {
    const { status, body } = await get(address, path, { deadline: DEADLINE_MS, localPort });
    if (status === 200) return body;
    const text = body.subarray(0, MAX_ERROR).toString("latin1").trim();
    throw refusal(address, `status ${status}, ${quote(text)}`, hintFor(status, text));
  });
}

function hintFor(status: number, text: string): string {
  if (status === 404) return HINT_ENABLE;
  if (status === 400 || text.includes("64 bytes")) return HINT_OLD;
  return "see the log of the guest's attestation-agent: its TEE refused, or it is of a version before 0.21";
}

function refusal(address: string, got: string, hint: string, cause?: unknown): EvidenceError {
  const details = { where: `http://${address}/aa/evidence`, got, want: WANT, hint, cause };
  return new EvidenceError("tee_unavailable", "the attestation agent gives no evidence", details);
}

/** One GET on a connection of its own, bounded in bytes and time up to the last byte. */
function get(
  address: string,
  path: string,
  { deadline, localPort }: { readonly deadline: number; readonly localPort: number | undefined },
): Promise<HttpAnswer> {
  const { hostname, port } = new URL(`http://${address}`);
  const from = localPort === undefined ? {} : { localPort, localAddress: "127.0.0.1" };
  const signal = AbortSignal.timeout(deadline);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(
        error instanceof EvidenceError
          ? error
          : refusal(address, reasonOf(signal.aborted ? signal.reason : error, deadline), HINT_ENABLE, error),
      );
    const sent = request({ hostname, port: port || "80", path, agent: false, signal, ...from }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        length += chunk.length;
        const most = response.statusCode === 200 ? MAX_BODY : MAX_ERROR;
        if (length > most) {
          response.destroy(refusal(address, `more than ${most} bytes`, "another program listens there"));
        }
      });
      response.on("error", fail);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
    });
    sent.on("error", fail);
    sent.end();
  });
}

function reasonOf(error: unknown, deadline: number): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError") return `no complete answer in ${deadline} ms`;
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}

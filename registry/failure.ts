import { ImageError } from "./problem.ts";

/** The connection stood and was lost: worth one more try. */
export class ConnectionLost extends Error {}

const LOST: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"]);

/** What the system or the proxy says where no connection comes about; TLS has codes of other forms, and EPROTO. */
const NO_CONNECTION = /^(?:E(?!PROTO)[A-Z0-9]+|EAI_[A-Z]+|ERR_PROXY_TUNNEL)$/;

/**
 * What the failure of a request means. A host that no connection comes about with is out of reach, whatever the reason;
 * one that takes the connection and fails then is there and does something wrong.
 *
 * @param isConnected behind a proxy: after the handshake of TLS, before which one can't see whose failure it is
 */
export function classify(error: unknown, url: URL, isConnected: boolean): Error {
  if (error instanceof ImageError) return error;
  const { host } = url;
  const { code = "an error without a code", statusCode } = error as NodeJS.ErrnoException & { statusCode?: number };
  if (!isConnected && NO_CONNECTION.test(code)) {
    const got = statusCode === undefined ? `${code} for ${host}` : `the proxy answers ${statusCode} for ${host}`;
    const hint = "look at the name, the network and HTTPS_PROXY, or use --offline";
    return new ImageError("unreachable", got, "a connection", hint, error);
  }
  if (LOST.has(code)) return new ConnectionLost(code, { cause: error });
  if (code.startsWith("HPE_") || url.protocol === "http:") {
    return ImageError.invalid(`${code} from ${host}`, "an answer by HTTP");
  }
  return new ImageError(
    "untrusted_registry",
    `${code} from ${host}`,
    "TLS with a certificate that is trusted",
    "if the registry has a private CA, name its file by NODE_EXTRA_CA_CERTS",
    error,
  );
}

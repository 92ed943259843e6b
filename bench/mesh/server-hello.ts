/** The server's first message (RFC 8446 §4.1.3), as anybody on the way can read it: whether a session is resumed stands in there. */

export interface ServerHello {
  readonly version: string;
  readonly cipher: string;
  readonly group: string;
  readonly isResumed: boolean;
}

const HANDSHAKE = 22;
const SERVER_HELLO = 2;
/** RFC 8446 §4.1.3: the `random` of a HelloRetryRequest, its beginning. */
const RETRY = "cf21ad74e59a6111";

const VERSIONS: Readonly<Record<number, string>> = { 0x0303: "1.2", 0x0304: "1.3" };
const CIPHERS: Readonly<Record<number, string>> = {
  0x1301: "AES-128-GCM",
  0x1302: "AES-256-GCM",
  0x1303: "ChaCha20-Poly1305",
};
const GROUPS: Readonly<Record<number, string>> = { 0x11ec: "X25519MLKEM768", 29: "X25519", 23: "P-256", 24: "P-384" };
const EXTENSION = { preSharedKey: 41, supportedVersions: 43, keyShare: 51 } as const;

/**
 * @param bytes what the server has sent so far
 * @returns undefined where the message is not whole yet
 */
export function readServerHello(bytes: Buffer): ServerHello | undefined {
  let at = 0;
  while (bytes.length >= at + 5) {
    const body = bytes.subarray(at + 5, at + 5 + bytes.readUInt16BE(at + 3));
    const end = at + 5 + bytes.readUInt16BE(at + 3);
    if (bytes.length < end) return undefined;
    if (bytes[at] === HANDSHAKE && body[0] === SERVER_HELLO && !body.toString("hex", 6).startsWith(RETRY)) {
      return read(body);
    }
    at = end;
  }
  return undefined;
}

function read(body: Buffer): ServerHello {
  const afterSession = 4 + 2 + 32 + 1 + (body[38] ?? 0);
  const extensions = extensionsOf(body.subarray(afterSession + 5));
  const number = (extension: number): number => extensions.get(extension)?.readUInt16BE(0) ?? 0;
  return {
    version: VERSIONS[number(EXTENSION.supportedVersions)] ?? "1.2",
    cipher: CIPHERS[body.readUInt16BE(afterSession)] ?? "other",
    group: GROUPS[number(EXTENSION.keyShare)] ?? "other",
    isResumed: extensions.has(EXTENSION.preSharedKey),
  };
}

function extensionsOf(list: Buffer): Map<number, Buffer> {
  const extensions = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= list.length;) {
    const end = at + 4 + list.readUInt16BE(at + 2);
    extensions.set(list.readUInt16BE(at), list.subarray(at + 4, end));
    at = end;
  }
  return extensions;
}

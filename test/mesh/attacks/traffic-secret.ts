import { createCipheriv, createHmac } from "node:crypto";
import type { TLSSocket } from "node:tls";

/** Writes records of TLS 1.3 that no TLS library would write: what an attacker sends after his handshake. */

const HASH = "sha384";
const KEY_BYTES = 32;
const IV_BYTES = 12;

/** RFC 8446 §7.1 */
function expandLabel(secret: Buffer, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([length >> 8, length & 0xff, name.length]), name, Buffer.from([0])]);
  const blocks: Buffer[] = [];
  let block = Buffer.alloc(0);
  for (let i = 1; blocks.length * 48 < length; i++) {
    block = createHmac(HASH, secret)
      .update(Buffer.concat([block, info, Buffer.from([i])]))
      .digest();
    blocks.push(block);
  }
  return Buffer.concat(blocks).subarray(0, length);
}

export const CONTENT = { handshake: 22, applicationData: 23 } as const;

/** RFC 8446 §4.6.3: "update_requested". */
export const KEY_UPDATE = Buffer.from([24, 0, 0, 1, 1]);

/** The client's side of a connection with TLS_AES_256_GCM_SHA384. */
export class RecordWriter {
  #secret: Buffer;
  #key: Buffer = Buffer.alloc(0);
  #iv: Buffer = Buffer.alloc(0);
  #sequence = 0n;

  constructor(secret: Buffer) {
    this.#secret = secret;
    this.#use(secret);
  }

  /** RFC 8446 §5.2: the content, its type, and no padding. */
  record(type: number, content: Buffer): Buffer {
    const nonce = Buffer.from(this.#iv);
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ this.#sequence++, 4);
    const header = Buffer.from([CONTENT.applicationData, 3, 3, 0, 0]);
    header.writeUInt16BE(content.length + 1 + 16, 3);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(header);
    const encrypted = cipher.update(Buffer.concat([content, Buffer.from([type])]));
    return Buffer.concat([header, encrypted, cipher.final(), cipher.getAuthTag()]);
  }

  /** With the keys that come after it. */
  keyUpdate(): Buffer {
    const record = this.record(CONTENT.handshake, KEY_UPDATE);
    this.#use(expandLabel(this.#secret, "traffic upd", 48));
    return record;
  }

  #use(secret: Buffer): void {
    this.#secret = secret;
    this.#key = expandLabel(secret, "key", KEY_BYTES);
    this.#iv = expandLabel(secret, "iv", IV_BYTES);
    this.#sequence = 0n;
  }
}

/** @param socket that has not begun its handshake; nothing may be written to it but by what this resolves with */
export async function recordWriter(socket: TLSSocket): Promise<RecordWriter> {
  const { promise, resolve, reject } = Promise.withResolvers<RecordWriter>();
  let secret: Buffer | undefined;
  socket.on("keylog", (line: Buffer) => {
    const match = /^CLIENT_TRAFFIC_SECRET_0 \S+ (\S+)\n?$/.exec(line.toString("latin1"));
    if (match?.[1] !== undefined) secret = Buffer.from(match[1], "hex");
  });
  socket.once("secureConnect", () => {
    if (secret === undefined) reject(new Error("no secret"));
    else resolve(new RecordWriter(secret));
  });
  socket.once("error", reject);
  return promise;
}

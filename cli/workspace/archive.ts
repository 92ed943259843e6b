import { sha256Hex } from "../../bytes/sha256.ts";
import { damaged, decodeRecord, encodeRecord } from "../../store/record.ts";
import { RECORD_KINDS, type RecordKind, type Store } from "../../store/store.ts";
import { CliError } from "../context.ts";
import type { StoredHistory } from "./stored-history.ts";

/**
 * A history in one file: the line `contrast backup 1`, then entries, each a line and the bytes that it announces:
 *
 *     <kind>/<digest> <length> LF <record>      as in a state folder (store/record.ts)
 *     latest <length> LF <record>               the last one
 *
 * What ends before `latest` is no backup. Nothing in it can be read that is secret: seed shares are encrypted for
 * their owners, and secrets under the seed.
 */
const HEADER = "contrast backup 1\n";

const LINE = /^(?:([a-z]+)\/([0-9a-f]{64})|latest) (0|[1-9]\d{0,9})$/;
/** Of such a line, in bytes. */
const LONGEST_LINE = 100;

export function encodeArchive({ pointer, records }: Pick<StoredHistory, "pointer" | "records">): Buffer {
  const entry = (name: string, file: Buffer): Buffer[] => [Buffer.from(`${name} ${file.length}\n`), file];
  return Buffer.concat([
    Buffer.from(HEADER),
    ...records.flatMap(({ kind, digest, bytes }) => entry(`${kind}/${digest}`, encodeRecord(kind, bytes))),
    ...entry("latest", encodeRecord("latest", pointer.raw)),
  ]);
}

/**
 * @param path for errors
 * @throws CliError malformed_file; what is read from it may be refused, too, by who reads it
 */
export function openArchive(path: string, bytes: Buffer): Pick<Store, "get" | "latest"> {
  if (!bytes.toString("latin1", 0, HEADER.length).startsWith(HEADER)) {
    throw malformed(path, "its first line", HEADER.trim());
  }
  const files = new Map<string, Buffer>();
  for (let offset = HEADER.length; offset < bytes.length;) {
    const end = bytes.indexOf("\n", offset);
    const line = end < 0 ? "" : bytes.toString("latin1", offset, Math.min(end, offset + LONGEST_LINE));
    const [, kind, digest, length = ""] = LINE.exec(line) ?? [];
    const [start, stop] = [end + 1, end + 1 + Number(length)];
    const isKnown = kind === undefined || RECORD_KINDS.some((known) => known === kind);
    if (length === "" || !isKnown || files.has("latest") || stop > bytes.length) {
      throw malformed(path, `an entry at byte ${offset} of ${bytes.length}`, "records, and at the end the pointer");
    }
    files.set(kind === undefined ? "latest" : `${kind}/${digest}`, bytes.subarray(start, stop));
    offset = stop;
  }
  const latest = files.get("latest");
  if (latest === undefined) throw malformed(path, `an end after ${bytes.length} bytes`, "the pointer at the end");
  return {
    latest: async () => decodeRecord("latest", latest, "latest"),
    get: async (kind: RecordKind, digest: string) => {
      const where = `${kind}/${digest}`;
      const file = files.get(where);
      if (file === undefined) throw damaged("a record is missing in the backup", { where });
      const payload = decodeRecord(kind, file, where);
      const actual = sha256Hex(payload);
      if (actual === digest) return payload;
      throw damaged("a record of the backup is not what its name says", { where, got: `SHA-256 ${actual}` });
    },
  };
}

function malformed(where: string, got: string, want: string): CliError {
  return new CliError("malformed_file", "this is no whole backup of a history", { where, got, want });
}

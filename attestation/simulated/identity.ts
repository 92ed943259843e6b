import { fromHex } from "../../bytes/hex.ts";
import { readRequired, unusable } from "./files.ts";

/** What the hypervisor and the firmware of a VM know at its launch; identity.json, all values in hexadecimal. */
export interface Identity {
  readonly hostData: Buffer;
  readonly measurement: Buffer;
  readonly chipId: Buffer;
  readonly reportId: Buffer;
}

/** Key in the file and length in bytes. */
const FIELDS = {
  hostData: ["HostData", 32],
  measurement: ["Measurement", 48],
  chipId: ["ChipID", 64],
  reportId: ["ReportID", 32],
} as const satisfies Record<keyof Identity, readonly [string, number]>;

export function encodeIdentity(identity: Identity): string {
  const entries = Object.entries(FIELDS).map(([name, [key, length]]) => {
    const value = identity[name as keyof Identity];
    if (value.length !== length) throw new RangeError(`${name}: got ${value.length} bytes, want ${length}`);
    return [key, value.toString("hex")];
  });
  return `${JSON.stringify(Object.fromEntries(entries), undefined, 2)}\n`;
}

/** @throws EvidenceError tee_unavailable */
export async function readIdentity(dir: string): Promise<Identity> {
  const file = parseObject(await readRequired(dir, "identity.json"));
  const field = (name: keyof Identity): Buffer => {
    const [key, length] = FIELDS[name];
    const text = file[key];
    const value = typeof text === "string" ? fromHex(text, length) : undefined;
    if (value === undefined) {
      throw unusable(dir, "identity.json", `${key}: ${JSON.stringify(text)}`, `${key}: ${length} bytes in hexadecimal`);
    }
    return value;
  };
  return {
    hostData: field("hostData"),
    measurement: field("measurement"),
    chipId: field("chipId"),
    reportId: field("reportId"),
  };
}

/** What is not an object lacks every field. */
function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(text)) as Readonly<Record<string, unknown>>;
  } catch {
    return {};
  }
}

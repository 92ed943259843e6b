import { z } from "zod";
import { quote } from "../../runtime/fault.ts";
import { damaged } from "../record.ts";
import { RECORD_KINDS, type RecordKind } from "../store.ts";

/**
 * What the history looks like on the Kubernetes API: ConfigMaps, with a file of the state (record.ts) in `binaryData`.
 *
 *     <name>-latest                     the pointer; the one object that changes
 *     <name>-<kind>-<digest>            a record, immutable; its first part, where there are several
 *     <name>-<kind>-<digest>.<n>        part n of it, from 1
 *
 * The first part is written last and removed first: where it is, the others are.
 */

export const MANAGED_BY = "contrast-coordinator";
export const LABELS = {
  managedBy: "app.kubernetes.io/managed-by",
  state: "contrast.edgeless.systems/state",
  kind: "contrast.edgeless.systems/kind",
} as const;
const PARTS = "contrast.edgeless.systems/parts";
/** Changes each time a record is put again, and with it the object's resourceVersion. */
export const TOUCHED = "contrast.edgeless.systems/touched";
const KEY = "record";

/** Of a part, in bytes. A ConfigMap holds 1 MiB (https://kubernetes.io/docs/concepts/configuration/configmap/). */
export const PART = 900 * 1024;
/** 56 MiB: more than the history may take of the largest Coordinator. */
export const MOST_PARTS = 64;
/** Of an answer with one object: Base64 of 1 MiB, and its metadata with what others may write there. */
export const MAX_OBJECT = 4 * 1024 * 1024;

const metadataSchema = z.object({
  name: z.string(),
  uid: z.string().min(1),
  resourceVersion: z.string().min(1),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
const configMapSchema = z.object({
  kind: z.literal("ConfigMap"),
  metadata: metadataSchema,
  binaryData: z.record(z.string(), z.base64()).optional(),
});
const listSchema = z.object({
  metadata: z.object({ continue: z.string().optional() }),
  // Go's empty list.
  items: z.array(z.object({ metadata: metadataSchema })).nullable(),
});

export type Metadata = z.infer<typeof metadataSchema>;
export type ConfigMap = z.infer<typeof configMapSchema>;

/** @throws z.ZodError */
export function parseConfigMapOf(name: string, body: unknown): ConfigMap {
  return configMapSchema.refine(({ metadata }) => metadata.name === name).parse(body);
}

/** A list of metadata alone. @throws z.ZodError */
export const parseList = (body: unknown): z.infer<typeof listSchema> => listSchema.parse(body);

/** An object as it is sent. */
export interface NewObject {
  readonly apiVersion: "v1";
  readonly kind: "ConfigMap";
  readonly metadata: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly resourceVersion?: string;
  };
  readonly immutable?: true;
  readonly binaryData: Readonly<Record<string, string>>;
}

export class Objects {
  readonly #name: string;

  /** @param name of the state: a label of DNS (RFC 1123) */
  constructor(name: string) {
    this.#name = name;
  }

  get latest(): string {
    return `${this.#name}-latest`;
  }

  /** Of all objects of the state, and of a kind. */
  selector(kind?: RecordKind): string {
    return Object.entries(this.#labels(kind))
      .map(([label, value]) => `${label}=${value}`)
      .join();
  }

  /** @param file as record.ts has it @param resourceVersion that it has to have; undefined: it has to be new */
  pointer(file: Buffer, resourceVersion?: string, touched?: string): NewObject {
    return {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: {
        name: this.latest,
        labels: this.#labels(),
        ...(touched !== undefined && { annotations: { [TOUCHED]: touched } }),
        ...(resourceVersion !== undefined && { resourceVersion }),
      },
      binaryData: { [KEY]: file.toString("base64") },
    };
  }

  record(kind: RecordKind, digest: string, part = 0): string {
    return `${this.#name}-${kind}-${digest}${part === 0 ? "" : `.${part}`}`;
  }

  /** @returns in the order in which they are to be written; more than MOST_PARTS can't be read again */
  parts(kind: RecordKind, digest: string, file: Buffer): NewObject[] {
    const count = Math.ceil(file.length / PART);
    return Array.from({ length: count }, (_, part): NewObject => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: {
        name: this.record(kind, digest, part),
        labels: this.#labels(kind),
        ...(part === 0 && count > 1 && { annotations: { [PARTS]: String(count) } }),
      },
      immutable: true,
      binaryData: { [KEY]: file.toString("base64", part * PART, (part + 1) * PART) },
    })).reverse();
  }

  /** @returns undefined: it is another's, or of a kind that only later versions know */
  parseName(name: string): { readonly kind: RecordKind; readonly digest: string; readonly part: number } | undefined {
    if (!name.startsWith(`${this.#name}-`)) return undefined;
    const match = /^([a-z]+)-([0-9a-f]{64})(?:\.([1-9]\d?))?$/.exec(name.slice(this.#name.length + 1));
    const kind = RECORD_KINDS.find((kind) => kind === match?.[1]);
    return kind && { kind, digest: match?.[2] ?? "", part: Number(match?.[3] ?? 0) };
  }

  /**
   * The bytes that an object holds.
   *
   * @throws Refusal `damaged_state` where it is not one of this state, or has none
   */
  bytesOf({ metadata, binaryData }: ConfigMap, kind?: RecordKind): Buffer {
    const where = `configmaps/${metadata.name}`;
    for (const [label, want] of Object.entries(this.#labels(kind))) {
      const got = metadata.labels?.[label];
      if (got === want) continue;
      throw damaged("a ConfigMap has the name of one of the state and is another's", {
        where: `${where}, label ${label}`,
        got: got === undefined ? "none" : quote(got),
        want,
        hint: "give the Coordinator a CONTRAST_STATE_NAME that nobody else in the namespace uses",
      });
    }
    const text = binaryData?.[KEY];
    if (text === undefined)
      throw damaged("a ConfigMap of the state holds no record", { where, want: `binaryData.${KEY}` });
    return Buffer.from(text, "base64");
  }

  /** @returns how many parts the record has, by its first part @throws Refusal `damaged_state` */
  partsOf({ metadata }: ConfigMap): number {
    const text = metadata.annotations?.[PARTS] ?? "1";
    const count = /^[1-9]\d?$/.test(text) ? Number(text) : 0;
    if (count >= 1 && count <= MOST_PARTS) return count;
    const where = `configmaps/${metadata.name}, annotation ${PARTS}`;
    throw damaged("a record of the state has no such number of parts", {
      where,
      got: quote(text),
      want: `1 to ${MOST_PARTS}`,
    });
  }

  #labels(kind?: RecordKind): Record<string, string> {
    return {
      [LABELS.managedBy]: MANAGED_BY,
      [LABELS.state]: this.#name,
      ...(kind !== undefined && { [LABELS.kind]: kind }),
    };
  }
}

/** Whether an object is as it would be written. */
export function holds(present: ConfigMap, wanted: NewObject): boolean {
  const { labels = {}, annotations = {} } = present.metadata;
  return (
    present.binaryData?.[KEY] === wanted.binaryData[KEY] &&
    Object.entries(wanted.metadata.labels).every(([label, value]) => labels[label] === value) &&
    annotations[PARTS] === wanted.metadata.annotations?.[PARTS]
  );
}

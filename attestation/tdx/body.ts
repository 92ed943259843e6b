import type { Cursor } from "../../bytes/cursor.ts";
import { concat } from "../../bytes/encode.ts";
import { u64le } from "../../bytes/numbers.ts";

/** What quotes and TDREPORTs say about the TDX module that launched the TD. */
export interface ModuleFields {
  /** 16 bytes; [0] and [1] are minor and major version of the TDX module. */
  readonly teeTcbSvn: Uint8Array;
  /** The TDX module's measurement; this and all of the following digests have 48 bytes. */
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  /** 8 bytes. */
  readonly seamAttributes: Uint8Array;
}

/** What they say about the TD. */
export interface TdFields {
  readonly tdAttributes: bigint;
  /** 8 bytes. */
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  /** RTMR 0 to 3. */
  readonly rtmrs: readonly Uint8Array[];
}

/**
 * The TD report in a quote (Intel TDX DCAP Quoting Library API, A.3.2): what the TDX module says about a TD. Its bytes are
 * all signed, so none is refused here.
 */
export interface TdBody extends ModuleFields, TdFields {
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** Undefined before TDX 1.5. */
  readonly tdx15: Tdx15 | undefined;
}

interface Tdx15 {
  /** As `teeTcbSvn`, of the TDX module that runs now: it can be updated while TDs run. */
  readonly teeTcbSvn2: Uint8Array;
  readonly mrServiceTd: Uint8Array;
}

export const TDX10_SIZE = 584;
export const TDX15_SIZE = 648;

export function readBody(quote: Cursor, version: "1.0" | "1.5"): TdBody {
  const moduleFields = readModule(quote);
  const tdFields = readTd(quote);
  const reportData = quote.bytes(64, "REPORTDATA");
  const tdx15 =
    version === "1.5"
      ? { teeTcbSvn2: quote.bytes(16, "TEE_TCB_SVN2"), mrServiceTd: quote.bytes(48, "MRSERVICETD") }
      : undefined;
  return { ...moduleFields, ...tdFields, reportData, tdx15 };
}

export function readModule(cursor: Cursor): ModuleFields {
  const teeTcbSvn = cursor.bytes(16, "TEE_TCB_SVN");
  const mrSeam = cursor.bytes(48, "MRSEAM");
  const mrSignerSeam = cursor.bytes(48, "MRSIGNERSEAM");
  const seamAttributes = cursor.bytes(8, "SEAMATTRIBUTES");
  return { teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes };
}

export function readTd(cursor: Cursor): TdFields {
  const tdAttributes = cursor.u64le("TDATTRIBUTES");
  const xfam = cursor.bytes(8, "XFAM");
  const mrTd = cursor.bytes(48, "MRTD");
  const mrConfigId = cursor.bytes(48, "MRCONFIGID");
  const mrOwner = cursor.bytes(48, "MROWNER");
  const mrOwnerConfig = cursor.bytes(48, "MROWNERCONFIG");
  const rtmrs = [0, 1, 2, 3].map((index) => cursor.bytes(48, `RTMR${index}`));
  return { tdAttributes, xfam, mrTd, mrConfigId, mrOwner, mrOwnerConfig, rtmrs };
}

/** The inverse of `readBody`. */
export function encodeBody(body: TdBody): Uint8Array {
  const encoded = concat(
    body.teeTcbSvn,
    body.mrSeam,
    body.mrSignerSeam,
    body.seamAttributes,
    u64le(body.tdAttributes),
    body.xfam,
    body.mrTd,
    body.mrConfigId,
    body.mrOwner,
    body.mrOwnerConfig,
    ...body.rtmrs,
    body.reportData,
    ...(body.tdx15 === undefined ? [] : [body.tdx15.teeTcbSvn2, body.tdx15.mrServiceTd]),
  );
  const size = body.tdx15 === undefined ? TDX10_SIZE : TDX15_SIZE;
  if (encoded.length !== size) throw new RangeError(`got ${encoded.length} bytes, want ${size}`);
  return encoded;
}

import type { Cursor } from "../../bytes/cursor.ts";

/**
 * The TD report in a quote (Intel TDX DCAP Quoting Library API, A.3.2): what the TDX module says about a TD. Its bytes are
 * all signed, so none is refused here.
 */
export interface TdBody {
  /** 16 bytes; [0] and [1] are minor and major version of the TDX module that launched the TD. */
  readonly teeTcbSvn: Buffer;
  /** The TDX module's measurement; this and all of the following digests have 48 bytes. */
  readonly mrSeam: Buffer;
  readonly mrSignerSeam: Buffer;
  /** 8 bytes. */
  readonly seamAttributes: Buffer;
  readonly tdAttributes: bigint;
  /** 8 bytes. */
  readonly xfam: Buffer;
  readonly mrTd: Buffer;
  readonly mrConfigId: Buffer;
  readonly mrOwner: Buffer;
  readonly mrOwnerConfig: Buffer;
  /** RTMR 0 to 3. */
  readonly rtmrs: readonly Buffer[];
  /** 64 bytes. */
  readonly reportData: Buffer;
  /** Undefined before TDX 1.5. */
  readonly tdx15: Tdx15 | undefined;
}

interface Tdx15 {
  /** As `teeTcbSvn`, of the TDX module that runs now: it can be updated while TDs run. */
  readonly teeTcbSvn2: Buffer;
  readonly mrServiceTd: Buffer;
}

export const TDX10_SIZE = 584;
export const TDX15_SIZE = 648;

export function readBody(quote: Cursor, version: "1.0" | "1.5"): TdBody {
  const teeTcbSvn = quote.bytes(16, "TEE_TCB_SVN");
  const mrSeam = quote.bytes(48, "MRSEAM");
  const mrSignerSeam = quote.bytes(48, "MRSIGNERSEAM");
  const seamAttributes = quote.bytes(8, "SEAMATTRIBUTES");
  const tdAttributes = quote.u64le("TDATTRIBUTES");
  const xfam = quote.bytes(8, "XFAM");
  const mrTd = quote.bytes(48, "MRTD");
  const mrConfigId = quote.bytes(48, "MRCONFIGID");
  const mrOwner = quote.bytes(48, "MROWNER");
  const mrOwnerConfig = quote.bytes(48, "MROWNERCONFIG");
  const rtmrs = [0, 1, 2, 3].map((index) => quote.bytes(48, `RTMR${index}`));
  const reportData = quote.bytes(64, "REPORTDATA");
  const tdx15 =
    version === "1.5"
      ? { teeTcbSvn2: quote.bytes(16, "TEE_TCB_SVN2"), mrServiceTd: quote.bytes(48, "MRSERVICETD") }
      : undefined;
  return {
    teeTcbSvn,
    mrSeam,
    mrSignerSeam,
    seamAttributes,
    tdAttributes,
    xfam,
    mrTd,
    mrConfigId,
    mrOwner,
    mrOwnerConfig,
    rtmrs,
    reportData,
    tdx15,
  };
}

/** The inverse of `readBody`. */
export function encodeBody(body: TdBody): Buffer {
  const tdAttributes = Buffer.alloc(8);
  tdAttributes.writeBigUInt64LE(body.tdAttributes);
  const encoded = Buffer.concat([
    body.teeTcbSvn,
    body.mrSeam,
    body.mrSignerSeam,
    body.seamAttributes,
    tdAttributes,
    body.xfam,
    body.mrTd,
    body.mrConfigId,
    body.mrOwner,
    body.mrOwnerConfig,
    ...body.rtmrs,
    body.reportData,
    ...(body.tdx15 === undefined ? [] : [body.tdx15.teeTcbSvn2, body.tdx15.mrServiceTd]),
  ]);
  const size = body.tdx15 === undefined ? TDX10_SIZE : TDX15_SIZE;
  if (encoded.length !== size) throw new RangeError(`got ${encoded.length} bytes, want ${size}`);
  return encoded;
}

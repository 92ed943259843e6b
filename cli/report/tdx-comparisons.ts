import { digestOf } from "../../attestation/path.ts";
import { INTEL_ROOTS } from "../../attestation/tdx/roots.ts";
import type { TdxReferenceValues } from "../../attestation/tdx/validate.ts";
import type { VerifiedTdxQuote } from "../../attestation/tdx/verify.ts";
import { ALWAYS, boundToConnection, type Comparison, equal, PINNED } from "./comparison.ts";

/** TDATTRIBUTES (Intel TDX Module Base Architecture Specification, §A.3.4): "TD under debug", and bit 29. */
const TUD = 0xffn;
const MIGRATABLE = 1n << 29n;
/** CET_U and CET_S of XFAM: the guest's own affair. */
const CET = 0x1800n;

/** What `validateTdx` compares, in its order. @param path of the set in the manifest */
export function compareTdx(verified: VerifiedTdxQuote, reference: TdxReferenceValues, path: string): Comparison[] {
  const { body } = verified.quote;
  const root = verified.path.at(-1);
  const statuses = ["UpToDate", ...(reference.allowedTcbStatuses ?? [])];
  const xfam = (bytes: Buffer): bigint => bytes.readBigUInt64LE() & ~CET;
  return [
    equal("root key", root === undefined ? "" : digestOf(root), [...INTEL_ROOTS].join(" or "), PINNED),
    {
      field: "TCB status",
      got: verified.tcbStatus,
      want: statuses.join(" or "),
      reference: `${path}.AllowedTcbStatuses`,
      holds: statuses.includes(verified.tcbStatus),
    },
    equal("TDATTRIBUTES.TUD", `0x${(body.tdAttributes & TUD).toString(16)}`, "0x0", ALWAYS),
    equal("TDATTRIBUTES.MIGRATABLE", (body.tdAttributes & MIGRATABLE) === 0n ? "0" : "1", "0", ALWAYS),
    equal("MRSEAM", body.mrSeam, reference.mrSeam, `${path}.MrSeam`),
    equal("MRTD", body.mrTd, reference.mrTd, `${path}.MrTd`),
    ...body.rtmrs.map((rtmr, index) =>
      equal(`RTMR${index}`, rtmr, reference.rtmrs[index] ?? "", `${path}.Rtmrs[${index}]`),
    ),
    {
      field: "XFAM",
      got: body.xfam.toString("hex"),
      want: `${reference.xfam.toString("hex")}, the CET bits aside`,
      reference: `${path}.Xfam`,
      holds: xfam(body.xfam) === xfam(reference.xfam),
    },
    {
      field: "TEE_TCB_SVN",
      got: body.teeTcbSvn.toString("hex"),
      want: `at least ${reference.minimumTeeTcbSvn.toString("hex")}, each byte by itself`,
      reference: `${path}.MinimumTeeTcbSvn`,
      holds: reference.minimumTeeTcbSvn.every((minimum, index) => (body.teeTcbSvn[index] ?? -1) >= minimum),
    },
    boundToConnection("REPORTDATA", body.reportData),
  ];
}

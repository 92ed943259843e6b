import { digestOf } from "../attestation/path.ts";
import { DEFAULT_TD_ATTRIBUTES, encodeTdAttributes, MIGRATABLE, TUD } from "../attestation/tdx/attributes.ts";
import { describeFlag, describeSgxType } from "../attestation/tdx/machine.ts";
import { INTEL_ROOTS } from "../attestation/tdx/roots.ts";
import type { TdxReferenceValues } from "../attestation/tdx/validate.ts";
import type { VerifiedTdxQuote } from "../attestation/tdx/verify.ts";
import { Cursor } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { ALWAYS, type Binding, bound, type Comparison, equal, PINNED } from "./comparison.ts";

/** CET_U and CET_S of XFAM: the guest's own affair. */
const CET = 0x1800n;

const ZERO = new Uint8Array(48);

/** What `validateTdx` compares, in its order. @param path of the set in the manifest */
export function compareTdx(
  verified: VerifiedTdxQuote,
  reference: TdxReferenceValues,
  path: string,
  binding: Binding = "connection",
): Comparison[] {
  const { body } = verified.quote;
  const root = verified.path.at(-1);
  const statuses = ["UpToDate", ...(reference.allowedTcbStatuses ?? [])];
  const minimumNumber = reference.minimumTcbEvaluationDataNumber;
  const tdAttributes = encodeTdAttributes(body.tdAttributes);
  const xfam = (bytes: Uint8Array): bigint => new Cursor(bytes).u64le("XFAM") & ~CET;
  return [
    equal("root key", root === undefined ? "" : digestOf(root), [...INTEL_ROOTS].join(" or "), PINNED),
    {
      field: "TCB status",
      got: verified.tcbStatus,
      want: statuses.join(" or "),
      reference: `${path}.AllowedTcbStatuses`,
      holds: statuses.includes(verified.tcbStatus),
    },
    {
      field: "tcbEvaluationDataNumber",
      got: `${verified.tcbEvaluationDataNumber}`,
      want: minimumNumber === undefined ? "any number" : `at least ${minimumNumber}`,
      reference: `${path}.MinimumTCBEvaluationDataNumber`,
      holds: minimumNumber === undefined || verified.tcbEvaluationDataNumber >= minimumNumber,
    },
    ...compareMachine(verified, reference, path),
    equal("TDATTRIBUTES.TUD", `0x${(body.tdAttributes & TUD).toString(16)}`, "0x0", ALWAYS),
    equal("TDATTRIBUTES.MIGRATABLE", (body.tdAttributes & MIGRATABLE) === 0n ? "0" : "1", "0", ALWAYS),
    equal("TDATTRIBUTES", tdAttributes, reference.tdAttributes ?? DEFAULT_TD_ATTRIBUTES, `${path}.TdAttributes`),
    equal("MRSEAM", body.mrSeam, reference.mrSeam, `${path}.MrSeam`),
    equal("MRTD", body.mrTd, reference.mrTd, `${path}.MrTd`),
    ...body.rtmrs.map((rtmr, index) =>
      equal(`RTMR${index}`, rtmr, reference.rtmrs[index] ?? "", `${path}.Rtmrs[${index}]`),
    ),
    ...compareServiceTd(verified, reference, path),
    equal("MROWNER", body.mrOwner, reference.mrOwner ?? ZERO, `${path}.MrOwner`),
    equal("MROWNERCONFIG", body.mrOwnerConfig, reference.mrOwnerConfig ?? ZERO, `${path}.MrOwnerConfig`),
    {
      field: "XFAM",
      got: toHex(body.xfam),
      want: `${toHex(reference.xfam)}, the CET bits aside`,
      reference: `${path}.Xfam`,
      holds: xfam(body.xfam) === xfam(reference.xfam),
    },
    compareSvn("TEE_TCB_SVN", body.teeTcbSvn, reference, path),
    ...(body.tdx15 === undefined ? [] : [compareSvn("TEE_TCB_SVN2", body.tdx15.teeTcbSvn2, reference, path)]),
    bound("REPORTDATA", body.reportData, binding),
  ];
}

/** What the PCK certificate says; where nothing is asked for, it is shown all the same. */
function compareMachine({ pck }: VerifiedTdxQuote, reference: TdxReferenceValues, path: string): Comparison[] {
  const piids = (reference.allowedPiids ?? []).map(toHex);
  const piid = pck.piid === undefined ? "none" : toHex(pck.piid);
  const asked = (field: string, got: string, want: string, flag: boolean | undefined, key: string): Comparison => ({
    field,
    got,
    want: flag === true ? want : "any",
    reference: `${path}.${key}`,
    holds: flag !== true || got === want,
  });
  const { smtEnabled, dynamicPlatform } = pck.configuration ?? {};
  return [
    {
      field: "PCK PIID",
      got: piid,
      want: piids.join(" or ") || "any machine",
      reference: `${path}.AllowedPIIDs`,
      holds: piids.length === 0 || piids.includes(piid),
    },
    asked("PCK SGX type", describeSgxType(pck), "ScalableWithIntegrity", reference.memoryIntegrity, "MemoryIntegrity"),
    asked("PCK smtEnabled", describeFlag(smtEnabled), "0", reference.smtDisabled, "SMTDisabled"),
    asked("PCK dynamicPlatform", describeFlag(dynamicPlatform), "0", reference.staticPlatform, "StaticPlatform"),
  ];
}

/** A quote of TDX 1.0 has none, which does where the manifest names none. */
function compareServiceTd(
  { quote }: VerifiedTdxQuote,
  { mrServiceTd }: TdxReferenceValues,
  path: string,
): Comparison[] {
  const { tdx15 } = quote.body;
  if (tdx15 === undefined && mrServiceTd === undefined) return [];
  return [equal("MRSERVICETD", tdx15?.mrServiceTd ?? "none", mrServiceTd ?? ZERO, `${path}.MrServiceTd`)];
}

function compareSvn(
  field: string,
  svn: Uint8Array,
  { minimumTeeTcbSvn }: TdxReferenceValues,
  path: string,
): Comparison {
  return {
    field,
    got: toHex(svn),
    want: `at least ${toHex(minimumTeeTcbSvn)}, each byte by itself`,
    reference: `${path}.MinimumTeeTcbSvn`,
    holds: minimumTeeTcbSvn.every((minimum, index) => (svn[index] ?? -1) >= minimum),
  };
}

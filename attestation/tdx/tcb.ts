import { toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import type { TdBody } from "./body.ts";
import type { Pck } from "./pck.ts";
import type { ComponentLevel, ModuleIdentity, PlatformLevel, PlatformStatus, QeIdentity, TcbInfo } from "./tcb-info.ts";

/**
 * How up to date a platform is by Intel's TCB info: the platform by its TCB level, the TDX module by its ISVSVN, the
 * quoting enclave by its own; the worst of them counts. What the status may be is for `validateTdx`.
 *
 * Some verifiers take the status of the module for that of the platform. That accepts platforms which are out of date.
 */

/** Revoked is none of them: it is an error. */
export type TcbStatus =
  | Exclude<PlatformStatus, "Revoked">
  /** Up to date now, but the TDX module was not when the TD was launched. */
  | "TDRelaunchAdvised"
  | "TDRelaunchAdvisedConfigurationNeeded";

export interface TcbEvaluation {
  readonly status: TcbStatus;
  /** Intel's security advisories for what the platform lacks, each once. */
  readonly advisories: readonly string[];
}

/** `tcb_revoked`. It carries what an evaluation would say, for whoever has to report it. */
export class TcbRevokedError extends EvidenceError {
  readonly advisories: readonly string[];

  constructor(where: string, got: string, advisories: readonly string[]) {
    super("tcb_revoked", "Intel revoked the platform's TCB level", {
      where,
      got,
      want: "no Revoked of platform, TDX module and quoting enclave",
      hint: `the host has to update its firmware${advisories.length > 0 ? `: ${advisories.join(", ")}` : ""}`,
    });
    this.name = EvidenceError.name;
    this.advisories = advisories;
  }
}

/** What is compared with the levels. */
export interface Platform {
  readonly pck: Pick<Pck, "components" | "pceSvn">;
  readonly qeIsvSvn: number;
  readonly body: Pick<TdBody, "teeTcbSvn" | "tdx15">;
}

/** @throws EvidenceError no_tcb_level, tcb_revoked */
export function evaluateTcb(tcbInfo: TcbInfo, qeIdentity: QeIdentity, platform: Platform): TcbEvaluation {
  const { teeTcbSvn, tdx15 } = platform.body;
  const launch = evaluateAt("TEE_TCB_SVN", teeTcbSvn, tcbInfo, qeIdentity, platform);
  if (tdx15 === undefined) return launch;
  const current = evaluateAt("TEE_TCB_SVN2", tdx15.teeTcbSvn2, tcbInfo, qeIdentity, platform);
  return {
    status: convergeWithCurrent(launch.status, current.status),
    advisories: unite(launch.advisories, current.advisories),
  };
}

/** @param field where `svn` stands, for the error */
function evaluateAt(
  field: string,
  svn: Uint8Array,
  tcbInfo: TcbInfo,
  qeIdentity: QeIdentity,
  { pck, qeIsvSvn }: Platform,
): TcbEvaluation & { readonly status: keyof typeof OUT_OF_DATE } {
  const platform = tcbInfo.tcbLevels.find((level) => reaches(level, pck, svn));
  if (platform === undefined) {
    throw noLevel("PCK TCB components, PCESVN and TEE_TCB_SVN", describePlatform(pck, svn), "a level of the TCB info");
  }
  const components = [
    ...(svn[1] === 0 ? [] : [moduleLevel(field, svn, tcbInfo)]),
    componentLevel("QE ISVSVN", qeIsvSvn, qeIdentity.tcbLevels),
  ];
  const levels = [platform, ...components];
  const advisories = unite(...levels.map(({ advisoryIDs }) => advisoryIDs));
  const { tcbStatus } = platform;
  const statuses = new Set(components.map((component) => component.tcbStatus));
  if (tcbStatus === "Revoked" || statuses.has("Revoked")) {
    throw new TcbRevokedError(field, levels.map((level) => level.tcbStatus).join(", "), advisories);
  }
  return { status: statuses.has("OutOfDate") ? OUT_OF_DATE[tcbStatus] : tcbStatus, advisories };
}

/** All 16 components, PCESVN, and the TDX components. From version 1 on, the module has an identity for its own two. */
function reaches({ tcb }: PlatformLevel, pck: Platform["pck"], teeTcbSvn: Uint8Array): boolean {
  const first = teeTcbSvn[1] === 0 ? 0 : 2;
  return (
    tcb.sgxtcbcomponents.every(({ svn }, index) => (pck.components[index] ?? -1) >= svn) &&
    pck.pceSvn >= tcb.pcesvn &&
    tcb.tdxtcbcomponents.every(({ svn }, index) => index < first || (teeTcbSvn[index] ?? -1) >= svn)
  );
}

function moduleLevel(field: string, svn: Uint8Array, tcbInfo: TcbInfo): ComponentLevel {
  const { id, tcbLevels } = findModuleIdentity(field, svn, tcbInfo);
  return componentLevel(`${field}, ISVSVN of module ${id}`, svn[0] ?? NaN, tcbLevels);
}

/**
 * What Intel says about the TDX module: its identity by the major version, or before version 1 the TCB info's own.
 *
 * @throws EvidenceError no_tcb_level
 */
export function moduleIdentity({ teeTcbSvn }: Pick<TdBody, "teeTcbSvn">, tcbInfo: TcbInfo): ModuleIdentity {
  return teeTcbSvn[1] === 0 ? tcbInfo.tdxModule : findModuleIdentity("TEE_TCB_SVN", teeTcbSvn, tcbInfo);
}

function findModuleIdentity(
  field: string,
  svn: Uint8Array,
  { tdxModuleIdentities }: TcbInfo,
): TcbInfo["tdxModuleIdentities"][number] {
  const wanted = `TDX_${toHex(svn.subarray(1, 2)).toUpperCase()}`;
  const identity = tdxModuleIdentities.find(({ id }) => id.toUpperCase() === wanted);
  if (identity !== undefined) return identity;
  throw noLevel(`${field}, module version`, wanted, tdxModuleIdentities.map(({ id }) => id).join(" or ") || "none");
}

function componentLevel(where: string, isvSvn: number, levels: readonly ComponentLevel[]): ComponentLevel {
  const level = levels.find(({ tcb }) => tcb.isvsvn <= isvSvn);
  if (level !== undefined) return level;
  throw noLevel(where, `${isvSvn}`, `at least ${levels.at(-1)?.tcb.isvsvn ?? "one level"}`);
}

/** What a status becomes when a component is out of date. */
const OUT_OF_DATE = {
  UpToDate: "OutOfDate",
  SWHardeningNeeded: "OutOfDate",
  OutOfDate: "OutOfDate",
  ConfigurationNeeded: "OutOfDateConfigurationNeeded",
  ConfigurationAndSWHardeningNeeded: "OutOfDateConfigurationNeeded",
  OutOfDateConfigurationNeeded: "OutOfDateConfigurationNeeded",
} as const satisfies Record<Exclude<PlatformStatus, "Revoked">, TcbStatus>;

/**
 * The TDX module may be updated below a TD that runs: what was out of date when it was launched may have left traces in
 * it. A module that is worse now than at launch counts as it is now, which is stricter than Intel's rule.
 */
function convergeWithCurrent(launch: keyof typeof OUT_OF_DATE, current: keyof typeof OUT_OF_DATE): TcbStatus {
  if (isOutOfDate(current)) return isOutOfDate(launch) ? launch : current;
  if (!isOutOfDate(launch)) return launch;
  const configuration = [launch, current].some((status) => OUT_OF_DATE[status] === "OutOfDateConfigurationNeeded");
  return configuration ? "TDRelaunchAdvisedConfigurationNeeded" : "TDRelaunchAdvised";
}

function isOutOfDate(status: keyof typeof OUT_OF_DATE): boolean {
  return status === OUT_OF_DATE[status];
}

function unite(...lists: readonly (readonly string[])[]): readonly string[] {
  return [...new Set(lists.flat())];
}

function noLevel(where: string, got: string, want: string): EvidenceError {
  return new EvidenceError("no_tcb_level", "the platform is older than every TCB level that Intel knows", {
    where,
    got,
    want,
    hint: "the host has to update its firmware, or the TCB info is older than the platform",
  });
}

function describePlatform({ components, pceSvn }: Platform["pck"], svn: Uint8Array): string {
  return `${components.join(".")}, ${pceSvn} and ${[...svn].join(".")}`;
}

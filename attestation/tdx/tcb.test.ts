import { describe, expect, test } from "vitest";
import { type QeIdentity, qeIdentitySchema, type TcbInfo, tcbInfoSchema } from "./tcb-info.ts";
import { refusal } from "../test-refusal.ts";
import { evaluateTcb, type TcbEvaluation } from "./tcb.ts";
import {
  COMPONENTS,
  componentLevel,
  moduleIdentity,
  PCE_SVN,
  platformLevel,
  QE_ISV_SVN,
  QE_IDENTITY,
  svn,
  TCB_INFO,
  TEE_TCB_SVN,
} from "./test-vendor.ts";

interface Case {
  readonly components?: readonly number[];
  readonly pceSvn?: number;
  readonly qeIsvSvn?: number;
  readonly teeTcbSvn?: Uint8Array;
  readonly teeTcbSvn2?: Uint8Array;
  readonly levels?: readonly object[];
  readonly modules?: readonly object[];
  readonly qeLevels?: readonly object[];
}

function evaluate(changes: Case): TcbEvaluation {
  const { components = COMPONENTS, pceSvn = PCE_SVN, qeIsvSvn = QE_ISV_SVN, teeTcbSvn = TEE_TCB_SVN } = changes;
  const tcbInfo: TcbInfo = tcbInfoSchema.parse({
    ...TCB_INFO,
    ...(changes.levels && { tcbLevels: changes.levels }),
    ...(changes.modules && { tdxModuleIdentities: changes.modules }),
  });
  const qeIdentity: QeIdentity = qeIdentitySchema.parse({
    ...QE_IDENTITY,
    ...(changes.qeLevels && { tcbLevels: changes.qeLevels }),
  });
  const { teeTcbSvn2 } = changes;
  const tdx15 = teeTcbSvn2 && { teeTcbSvn2, mrServiceTd: Buffer.alloc(48) };
  return evaluateTcb(tcbInfo, qeIdentity, { pck: { components, pceSvn }, qeIsvSvn, body: { teeTcbSvn, tdx15 } });
}

function status(changes: Case): string {
  return evaluate(changes).status;
}

const platform = (tcbStatus: string): Case => ({ levels: [platformLevel({}, tcbStatus)] });
const module = (tcbStatus: string): Case => ({ modules: [moduleIdentity("TDX_01", componentLevel(1, tcbStatus))] });
const qe = (tcbStatus: string): Case => ({ qeLevels: [componentLevel(1, tcbStatus)] });

describe("the platform's level is the first that it reaches in everything", () => {
  const older = platformLevel({ components: COMPONENTS.map(() => 0), pceSvn: 5, tdx: svn() }, "OutOfDate");
  const levels = [platformLevel({}, "UpToDate"), older];

  test("one that it reaches exactly, or goes beyond", () => {
    const highest = moduleIdentity("TDX_FF", componentLevel(0, "UpToDate"));
    expect(status({ levels })).toBe("UpToDate");
    expect(status({ levels, components: COMPONENTS.map(() => 255), pceSvn: 65535 })).toBe("UpToDate");
    expect(status({ levels, teeTcbSvn: svn(...TEE_TCB_SVN.map(() => 255)), modules: [highest] })).toBe("UpToDate");
  });
  test("one component below it is enough for the next level, whatever the others are", () => {
    const needed = COMPONENTS.map((_, index) => index + 1);
    const high = [platformLevel({ components: needed }, "UpToDate"), older];
    expect(status({ levels: high, components: needed })).toBe("UpToDate");
    for (const index of needed.keys()) {
      const components = needed.map((value, at) => (at === index ? value - 1 : 255));
      expect(status({ levels: high, components })).toBe("OutOfDate");
    }
  });

  test("PCESVN below it is enough for the next level", () => {
    expect(status({ levels, pceSvn: PCE_SVN - 1 })).toBe("OutOfDate");
  });

  test("TEE_TCB_SVN below it is enough for the next level; [0] and [1] count only where the module's version is 0", () => {
    const needed = Buffer.alloc(16, 9);
    const high = [platformLevel({ tdx: needed }, "UpToDate"), older];
    const modules = [moduleIdentity("TDX_01", componentLevel(0, "UpToDate"))];
    for (const index of needed.keys()) {
      const below = Buffer.from(needed);
      below.writeUInt8(8, index);
      const versioned = Buffer.from(below);
      versioned.writeUInt8(1, 1);
      expect(status({ levels: high, modules, teeTcbSvn: versioned })).toBe(index < 2 ? "UpToDate" : "OutOfDate");
      const first = [
        platformLevel({ tdx: svn(...needed.subarray(0, 1), 0, ...needed.subarray(2)) }, "UpToDate"),
        older,
      ];
      below.writeUInt8(0, 1);
      expect(status({ levels: first, teeTcbSvn: below })).toBe(index === 1 ? "UpToDate" : "OutOfDate");
    }
  });

  test("without a level there is no status", () => {
    expect(() => evaluate({ levels: [] })).toThrow(refusal("no_tcb_level"));
    expect(() => evaluate({ pceSvn: PCE_SVN - 1 })).toThrow(refusal("no_tcb_level"));
    expect(() => evaluate({ teeTcbSvn: svn(255, 1, 3) })).toThrow(refusal("no_tcb_level"));
  });
});

describe("the TDX module and the quoting enclave have levels of their own", () => {
  test("the module's is that of its major version, by the minor one", () => {
    const modules = [
      moduleIdentity("TDX_03", componentLevel(3, "UpToDate")),
      moduleIdentity("TDX_1a", componentLevel(9, "UpToDate"), componentLevel(7, "OutOfDate")),
    ];
    expect(status({ modules, teeTcbSvn: svn(9, 0x1a, 4) })).toBe("UpToDate");
    expect(status({ modules, teeTcbSvn: svn(8, 0x1a, 4) })).toBe("OutOfDate");
    expect(status({ modules, teeTcbSvn: svn(3, 3, 4) })).toBe("UpToDate");
    expect(() => evaluate({ modules, teeTcbSvn: svn(6, 0x1a, 4) })).toThrow(refusal("no_tcb_level"));
    expect(() => evaluate({ modules, teeTcbSvn: svn(9, 2, 4) })).toThrow(refusal("no_tcb_level"));
  });

  test("a module of version 0 has none", () => {
    expect(status({ ...module("Revoked"), teeTcbSvn: svn(5, 0, 4) })).toBe("UpToDate");
  });

  test("the quoting enclave's is by its ISVSVN", () => {
    expect(status({ qeIsvSvn: QE_ISV_SVN - 1 })).toBe("OutOfDate");
    expect(() => evaluate({ qeIsvSvn: 3 })).toThrow(refusal("no_tcb_level"));
  });
});

describe("the worst of the three counts", () => {
  test.each([
    ["UpToDate", "OutOfDate"],
    ["SWHardeningNeeded", "OutOfDate"],
    ["ConfigurationNeeded", "OutOfDateConfigurationNeeded"],
    ["ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"],
    ["OutOfDate", "OutOfDate"],
    ["OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"],
  ])("%s stays, or becomes %s with a component out of date", (before, after) => {
    expect(status(platform(before))).toBe(before);
    expect(status({ ...platform(before), ...module("OutOfDate") })).toBe(after);
    expect(status({ ...platform(before), ...qe("OutOfDate") })).toBe(after);
    expect(status({ ...platform(before), ...module("OutOfDate"), ...qe("OutOfDate") })).toBe(after);
  });

  test.each([
    ["platform", platform("Revoked")],
    ["module", module("Revoked")],
    ["quoting enclave", qe("Revoked")],
    ["module, beside one out of date", { ...module("Revoked"), ...qe("OutOfDate") }],
  ])("a revoked %s is an error", (_, changes) => {
    expect(() => evaluate(changes)).toThrow(refusal("tcb_revoked"));
  });

  test("advisories of all three are united, each once", () => {
    const { advisories } = evaluate({
      levels: [platformLevel({}, "OutOfDate", "INTEL-SA-1", "INTEL-SA-2")],
      modules: [moduleIdentity("TDX_01", componentLevel(1, "OutOfDate", "INTEL-SA-2", "INTEL-SA-3"))],
      qeLevels: [componentLevel(1, "OutOfDate", "INTEL-SA-4")],
    });
    expect(advisories).toEqual(["INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3", "INTEL-SA-4"]);
  });
});

describe("a TD of TDX 1.5 is judged by the module that launched it and by the one that runs", () => {
  const old = svn(4, 1, 4);
  const launched = { teeTcbSvn: old, teeTcbSvn2: TEE_TCB_SVN };

  test.each([
    ["UpToDate", "TDRelaunchAdvised"],
    ["SWHardeningNeeded", "TDRelaunchAdvised"],
    ["ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"],
    ["ConfigurationAndSWHardeningNeeded", "TDRelaunchAdvisedConfigurationNeeded"],
    ["OutOfDate", "OutOfDate"],
    ["OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"],
  ])("launched under an old one, on a platform that is %s: %s", (before, after) => {
    expect(status({ ...platform(before), ...launched })).toBe(after);
  });

  test.each([
    ["OutOfDate", "UpToDate", "TDRelaunchAdvised"],
    ["OutOfDate", "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"],
    ["OutOfDateConfigurationNeeded", "UpToDate", "TDRelaunchAdvisedConfigurationNeeded"],
    ["OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"],
    ["SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"],
    ["SWHardeningNeeded", "OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"],
  ])("launched on a level %s, running on a level %s: %s", (launch, current, want) => {
    const levels = [platformLevel({ tdx: svn(0, 0, 5) }, current), platformLevel({ tdx: svn(0, 0, 4) }, launch)];
    expect(status({ levels, teeTcbSvn: svn(11, 1, 4), teeTcbSvn2: svn(11, 1, 5) })).toBe(want);
  });

  test("both up to date is up to date", () => {
    expect(status({ teeTcbSvn: TEE_TCB_SVN, teeTcbSvn2: svn(13, 1, 4) })).toBe("UpToDate");
  });

  test("both out of date is out of date", () => {
    expect(status({ teeTcbSvn: old, teeTcbSvn2: old })).toBe("OutOfDate");
  });

  test("the one that runs must not be worse", () => {
    expect(status({ teeTcbSvn: TEE_TCB_SVN, teeTcbSvn2: old })).toBe("OutOfDate");
  });

  test("a quoting enclave that is out of date is not mended by a relaunch", () => {
    expect(status({ ...launched, qeIsvSvn: 5 })).toBe("OutOfDate");
  });

  test("one that is revoked, or that Intel does not know, is an error in either place", () => {
    const modules = [moduleIdentity("TDX_01", componentLevel(11, "UpToDate"), componentLevel(4, "Revoked"))];
    for (const [teeTcbSvn, teeTcbSvn2] of [
      [old, TEE_TCB_SVN],
      [TEE_TCB_SVN, old],
    ] as const) {
      expect(() => evaluate({ modules, teeTcbSvn, teeTcbSvn2 })).toThrow(refusal("tcb_revoked"));
    }
    expect(() => evaluate({ teeTcbSvn: TEE_TCB_SVN, teeTcbSvn2: svn(11, 2, 4) })).toThrow(refusal("no_tcb_level"));
    expect(() => evaluate({ teeTcbSvn: svn(3, 1, 4), teeTcbSvn2: TEE_TCB_SVN })).toThrow(refusal("no_tcb_level"));
  });

  test("advisories of both are united", () => {
    const modules = [
      moduleIdentity(
        "TDX_01",
        componentLevel(11, "UpToDate", "INTEL-SA-2"),
        componentLevel(4, "OutOfDate", "INTEL-SA-1"),
      ),
    ];
    expect(evaluate({ ...launched, modules }).advisories).toEqual(["INTEL-SA-1", "INTEL-SA-2"]);
  });
});

import { createHash } from "node:crypto";
import { PassThrough } from "node:stream";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClientHelloSchema, ServerHelloSchema } from "../api/channel_pb.ts";
import { parseCertificateTable } from "../attestation/collect/certificate-table.ts";
import { CERTIFICATE_GUIDS, encodeCertificateTable } from "../attestation/collect/test-certificate-table.ts";
import { readCocoEvidence } from "../attestation/collect/coco/evidence-json.ts";
import { cocoSnpJson, legacyCocoSnpJson } from "../attestation/collect/coco/test-coco-api.ts";
import { parseRevocationList } from "../attestation/crl.ts";
import { EvidenceError } from "../attestation/error.ts";
import type { SnpEvidence } from "../attestation/evidence.ts";
import { parsePemCertificates } from "../attestation/pem.ts";
import { parseEndorsement } from "../attestation/snp/certificate.ts";
import { encodeSnpReport, parseSnpReport } from "../attestation/snp/report.ts";
import * as snp from "../attestation/snp/test-vendor.ts";
import { p256KeyOf } from "../attestation/tdx/ecdsa.ts";
import { parsePck } from "../attestation/tdx/pck.ts";
import { encodeTdxQuote, parseTdxQuote } from "../attestation/tdx/quote.ts";
import { parseTdReport } from "../attestation/tdx/tdreport.ts";
import * as tdx from "../attestation/tdx/test-vendor.ts";
import { isCa, keyUsage, parseCertificate } from "../attestation/x509.ts";
import { MalformedBytes } from "../bytes/cursor.ts";
import { toBase64, toLatin1 } from "../bytes/encode.ts";
import { ChannelError } from "../channel/error.ts";
import { fromWire, toWire } from "../channel/evidence-wire.ts";
import { readMessage } from "../channel/framing.ts";
import { providedSectors } from "../initializer/volume/layout.ts";
import { makeSuperblock, readSuperblock } from "../initializer/volume/superblock.ts";
import { type Annex, EMPTY_ANNEX, encodeAnnex, parseAnnex } from "../manifest/annex.ts";
import { faultOfAmendment, faultOfReseal, faultOfUse } from "../manifest/annex-changes.ts";
import { ManifestError } from "../manifest/error.ts";
import { encodeGuestPull, type GuestPull, readGuestPull } from "../manifest/guest-pull.ts";
import { encodeInitdata, regoOf } from "../manifest/initdata.ts";
import { fromAnnotation, toAnnotation } from "../manifest/initdata-annotation.ts";
import { parseJson } from "../manifest/json.ts";
import { parseOperation } from "../coordinator/transit/operation.ts";
import { MOST_PLAINTEXT, parseInput } from "../coordinator/transit/request-body.ts";
import { TransitError } from "../coordinator/transit/transit-error.ts";
import { grantOf } from "../manifest/grant-extensions.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { encodeConsent, parseConsent } from "../coordinator/state/consent.ts";
import { encodeTransition, parseTransition } from "../manifest/transition.ts";
import { parseEgressRules, printEgressRules } from "../mesh-rules/egress-rules.ts";
import { parseIngressRules, printIngressRules } from "../mesh-rules/ingress-rules.ts";
import { MeasurementError } from "../measurement/error.ts";
import { parseSnpFirmware } from "../measurement/snp/firmware.ts";
import { measureSnp } from "../measurement/snp/measure.ts";
import { authenticodeDigest } from "../measurement/tdx/authenticode.ts";
import { parseEventLog } from "../measurement/tdx/event-log.ts";
import { parseTdxFirmware } from "../measurement/tdx/firmware.ts";
import { mrTd } from "../measurement/tdx/mrtd.ts";
import { knownConfigurationEvents } from "../measurement/tdx/td-hob.ts";
import { makeEventLog } from "../measurement/tdx/test-event-log.ts";
import { INTEL_TDX, makeFirmware, makeKernel } from "../measurement/test-firmware.ts";
import { Malformed } from "../runtime/environment.ts";
import { type Part, parseTemplate } from "../secret-files/template.ts";
import { printTemplates, secretTemplates } from "../secret-files/templates-variable.ts";
import { requireEqual, type Target } from "./campaign.ts";
import { MANIFEST } from "./manifest-seed.ts";

/** Of 1 GiB. */
const DISK_SECTORS = 2 ** 21;

const GUEST_PULL: GuestPull = {
  rootCertificates: [`-----BEGIN CERTIFICATE-----\n${"QUJD".repeat(16)}\n-----END CERTIFICATE-----\n`],
  httpsProxy: "http://proxy.example:3128",
  noProxy: "10.0.0.0/8,.local",
  mirrors: [{ registry: "docker.io", mirror: "mirror.example:5000/docker" }],
};

/** Every parser of bytes that others choose, and what it promises beside its refusals. The seeds come of fake vendors. */
export async function parserTargets(): Promise<readonly Target[]> {
  const [snpVendor, tdxVendor] = await Promise.all([snp.createTestVendor(), tdx.createTestVendor()]);
  const machines = (["Milan", "Genoa", "Turin"] as const).flatMap((product) =>
    (["vcek", "vlek"] as const).map((kind) => snp.makeEvidence(snpVendor, { product, kind })),
  );
  const platforms = ([4, 5] as const).map((version) => tdx.makeEvidence(tdxVendor, { version }));
  const chains = platforms.map(({ quote }) => parseTdxQuote(quote).certificateChain);
  const { rootCrl, pckCrl } = tdx.makeCollateral(tdxVendor, { pckCrl: { serials: [1, 2, 3] } });
  const [vcek, ask, ark] = machines[0]?.certificates ?? [];
  const table = Object.entries({ vcek, ask, ark }).flatMap(([kind, bytes]) =>
    bytes === undefined ? [] : [{ guid: CERTIFICATE_GUIDS[kind as "vcek" | "ask" | "ark"], bytes }],
  );

  return [
    evidence("SNP report", reports(machines), (input) => {
      requireEqual("encodes to other bytes", encodeSnpReport(parseSnpReport(input)), input);
    }),
    evidence("TDX quote", quotes(platforms), (input) => {
      requireEqual("encodes to other bytes", encodeTdxQuote(parseTdxQuote(input)), input);
    }),
    evidence("TDREPORT", [tdReport(0), tdReport(1)], (input) => parseTdReport(withHashes(input))),
    evidence(
      "certificate",
      [...machines.flatMap(({ certificates }) => certificates), ...chains.flatMap(ders)],
      (input) => {
        const certificate = parseCertificate(input);
        const readers = [isCa, keyUsage, p256KeyOf, parsePck, vcekOf, vlekOf];
        for (const read of readers) refusedOr(() => read(certificate));
        refusedOr(() => grantOf(input));
      },
    ),
    evidence("revocation list", [rootCrl, pckCrl], parseRevocationList),
    evidence("certificate table", [encodeCertificateTable(table), encodeCertificateTable([])], parseCertificateTable),
    evidence("answer of CoCo's attestation agent", cocoAnswers(machines, platforms), (input) => {
      const answer = readCocoEvidence(input);
      // Whoever reads the bytes next refuses what is none, and nothing else happens.
      refusedOr(() => (answer.kind === "snp" ? parseSnpReport(answer.report) : parseTdxQuote(answer.quote)));
    }),
    evidence("PEM", chains, (input) => parsePemCertificates(input, "file")),
    { name: "manifest", seeds: [Buffer.from(JSON.stringify(MANIFEST))], refusals: [ManifestError], run: parseManifest },
    {
      name: "JSON",
      seeds: [Buffer.from(JSON.stringify(MANIFEST)), Buffer.from('[{"a":[1,-2.5e3,true,null,"\\u00e4\\n"]},{}]')],
      refusals: [ManifestError],
      run: (input) =>
        requireEqual("is not what JSON.parse reads", parseJson(input), JSON.parse(input.toString("utf8"))),
    },
    {
      name: "initdata",
      seeds: [Buffer.from(encodeInitdata("package agent_policy\n\ndefault AllowRequests := true\n"))],
      refusals: [ManifestError],
      run: (input) => {
        const rego = regoOf(input);
        requireEqual("the policy changes when it is encoded", regoOf(encodeInitdata(rego)), rego);
      },
    },
    {
      name: "request to the transit port",
      seeds: [
        '{"plaintext":"aGVsbG8=","key_version":1}',
        `{"ciphertext":"vault:v1:${Buffer.alloc(40, 7).toString("base64")}"}`,
        "/v1/transit/encrypt/apps%2Fv1%2FDeployment/shop/web?x=1",
      ].map((text) => Buffer.from(text)),
      refusals: [TransitError],
      run: (input) => {
        if (input[0] === 0x2f) {
          parseOperation("POST", input.toString("latin1"));
        } else if (input.includes("ciphertext")) {
          const read = parseInput("decrypt", input);
          if ("plaintext" in read || read.ciphertext.sealed.length < 28) throw new Error("no ciphertext");
        } else {
          const read = parseInput("encrypt", input);
          if (!("plaintext" in read) || read.plaintext.length > MOST_PLAINTEXT) throw new Error("no plaintext");
        }
      },
    },
    {
      name: "superblock of an encrypted volume",
      seeds: [DISK_SECTORS, DISK_SECTORS / 2].map((disk) => makeSuperblock(providedSectors(disk))),
      refusals: [MalformedBytes],
      run: (input) =>
        requireEqual("is not the one of its size", makeSuperblock(readSuperblock(input, DISK_SECTORS)), input),
    },
    {
      name: "configuration of a guest's image pull",
      seeds: [Buffer.from(encodeGuestPull(GUEST_PULL) ?? "")],
      refusals: [ManifestError],
      run: (input) => {
        const text = input.toString("utf8");
        requireEqual("is written in another way", encodeGuestPull(readGuestPull(text)), text);
      },
    },
    {
      name: "initdata annotation",
      seeds: [Buffer.from(toAnnotation(encodeInitdata("package agent_policy\n")))],
      refusals: [ManifestError],
      run: (input) => fromAnnotation(input.toString("latin1")),
    },
    {
      name: "egress rules",
      seeds: [Buffer.from("db#127.0.0.2:5432#db.example:5432##six#[::1]:80#[2001:db8::1]:443#spiffe://example/db")],
      refusals: [Malformed],
      run: (input) => {
        const text = input.toString("utf8");
        requireEqual("prints as other text", printEgressRules(parseEgressRules(text)), text);
      },
    },
    {
      name: "ingress rules",
      seeds: [Buffer.from("web#8080#false##metrics#9090#true##old#1#0##older#2#1")],
      refusals: [Malformed],
      run: (input) => {
        const rules = parseIngressRules(input.toString("utf8"));
        requireEqual("reads as other rules once printed", parseIngressRules(printIngressRules(rules)), rules);
      },
    },
    {
      name: "template with secrets",
      seeds: [Buffer.from('user: app\npassword: {{ secret "db" | base64 | json }}\n{{ "{{" }} {{secret "api"}}')],
      refusals: [Malformed],
      run: (input) => {
        const parts = parseTemplate(input.toString("utf8"));
        requireEqual("reads in another way once printed", parseTemplate(parts.map(printPart).join("")), parts);
      },
    },
    {
      name: "templates of a pod",
      seeds: [Buffer.from(printTemplates({ "app.conf": '{{ secret "db" }}$', other: "{{" }))],
      refusals: [Malformed],
      run: (input) => secretTemplates.parse(input.toString("utf8")),
    },
    {
      name: "firmware for SNP",
      seeds: [makeFirmware(), makeFirmware({ size: 4096, snp: [{ address: 0x1000, size: 0x2000, type: 1 }] })],
      refusals: [MeasurementError],
      run: (input) => {
        const boot = { kernel: makeKernel(), initrd: undefined, commandLine: "panic=1" };
        const firmware = parseSnpFirmware(input);
        const pages = firmware.sections.reduce((sum, { size }) => sum + size / 4096, 0);
        // Each takes a hash: what the metadata may ask for at most takes its time.
        if (pages > 2000) return;
        for (const measured of measureSnp(firmware, boot, { signature: 1, features: 1n }, [1, 2]).values()) {
          requireEqual("is no digest", measured.length, 48);
        }
      },
    },
    {
      name: "firmware for TDX",
      seeds: [makeFirmware({ tdx: INTEL_TDX }), makeFirmware({ size: 4096, tdx: INTEL_TDX.slice(2) })],
      refusals: [MeasurementError],
      run: (input) => {
        const sections = parseTdxFirmware(input);
        knownConfigurationEvents(sections, 4096);
        if (sections.reduce((sum, { size }) => sum + size / 4096, 0) <= 2000) mrTd(sections);
      },
    },
    {
      name: "kernel",
      seeds: [makeKernel(), makeKernel({ extra: Buffer.from("extra"), certificates: 64 })],
      refusals: [MeasurementError],
      run: authenticodeDigest,
    },
    {
      name: "event log",
      seeds: [1, 4].map((index) =>
        makeEventLog(
          [1, 2].map((type) => ({ index, type, digest: Buffer.alloc(48, type), data: Buffer.from("ACPI") })),
        ),
      ),
      refusals: [MeasurementError],
      run: parseEventLog,
    },
    {
      name: "transition",
      seeds: [{}, LATER, { ...LATER, version: 3 as const }, { ...LATER, annex: "a6".repeat(32) }].map((changes) =>
        Buffer.from(encodeTransition({ ...TRANSITION, ...changes })),
      ),
      refusals: [MalformedBytes],
      run: (input) => requireEqual("encodes to other bytes", encodeTransition(parseTransition(input)), input),
    },
    {
      name: "consent",
      seeds: [encodeConsent(CONSENT), encodeConsent({ ...CONSENT, annex: "a6".repeat(32) })],
      refusals: [MalformedBytes],
      run: (input) => requireEqual("encodes to other bytes", encodeConsent(parseConsent(input)), input),
    },
    {
      name: "annex",
      seeds: [EMPTY_ANNEX, ANNEX].map((annex) => Buffer.from(encodeAnnex(annex))),
      refusals: [ManifestError],
      run: (input) => {
        const annex = parseAnnex(input);
        requireEqual("encodes to other bytes", encodeAnnex(annex), input);
        // Whatever it is, what may follow it is decided without a fault.
        for (const other of [EMPTY_ANNEX, ANNEX]) {
          for (const fault of [faultOfAmendment, faultOfUse, faultOfReseal]) {
            fault(annex, other);
            fault(other, annex);
          }
        }
      },
    },
    {
      name: "channel framing",
      seeds: [...machines.slice(0, 1), ...platforms.slice(0, 1)].map((shown) => {
        const hello = create(ClientHelloSchema, { evidence: toWire(shown), wantsServerEvidence: true });
        return framed(toBinary(ClientHelloSchema, hello));
      }),
      refusals: [ChannelError],
      run: async (input) => {
        fromWire((await readMessage(streamOf(input), ClientHelloSchema)).evidence);
        await readMessage(streamOf(input), ServerHelloSchema);
      },
    },
  ];
}

function printPart(part: Part): string {
  if (typeof part === "string") return part.replaceAll("{{", '{{ "{{" }}');
  return `{{ secret "${part.secret}"${part.filters.map((filter) => ` | ${filter}`).join("")} }}`;
}

const CONSENT = {
  manifest: "a1".repeat(32),
  previous: "a2".repeat(32),
  meshKey: "a5".repeat(32),
  size: 4096,
  revoke: false,
  publicKey: Buffer.alloc(91, 0x30),
  signature: Buffer.alloc(70, 0x31),
};

const ANNEX: Annex = {
  secrets: new Map([
    ["db", { latestVersion: 2, versions: [{ version: 2, readers: ["workload:web"], sealed: "a7".repeat(32) }] }],
    ["old", { latestVersion: 1, versions: [] }],
  ]),
  volumes: new Map([["web", new Map([["data", { allowed: 2, used: 1 }]])]]),
};

const TRANSITION = {
  manifest: "a1".repeat(32),
  previous: undefined,
  seedShares: "a2".repeat(32),
  rootKey: "a3".repeat(32),
  meshKey: undefined,
  signatures: [],
};
const LATER = {
  previous: "a4".repeat(32),
  meshKey: "a5".repeat(32),
  signatures: [1, 2].map((byte) => ({ publicKey: Buffer.alloc(91, byte), signature: Buffer.alloc(71, byte) })),
};

function evidence(name: string, seeds: readonly Uint8Array[], run: (input: Uint8Array) => unknown): Target {
  return { name, seeds, refusals: [EvidenceError], run };
}

/** Later readers must be reached even where an earlier one refuses. */
function refusedOr(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
  }
}

type ParsedCertificate = ReturnType<typeof parseCertificate>;
const vcekOf = (certificate: ParsedCertificate): unknown => parseEndorsement("vcek", certificate);
const vlekOf = (certificate: ParsedCertificate): unknown => parseEndorsement("vlek", certificate);

function reports(machines: readonly { readonly report: Uint8Array }[]): readonly Uint8Array[] {
  return machines.map(({ report }) => report);
}

function quotes(platforms: readonly { readonly quote: Uint8Array }[]): readonly Uint8Array[] {
  return platforms.map(({ quote }) => quote);
}

function cocoAnswers(
  machines: readonly SnpEvidence[],
  platforms: readonly { readonly quote: Uint8Array }[],
): readonly Uint8Array[] {
  return [
    ...machines
      .slice(0, 1)
      .flatMap((evidence) => [cocoSnpJson(evidence), legacyCocoSnpJson(evidence)])
      .map((text) => Buffer.from(text)),
    ...platforms.map(({ quote }) => Buffer.from(JSON.stringify({ cc_eventlog: null, quote: toBase64(quote) }))),
  ];
}

function ders(pem: Uint8Array): readonly Uint8Array[] {
  const blocks = toLatin1(pem).matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END/g);
  return Array.from(blocks, ([, base64 = ""]) => Buffer.from(base64, "base64"));
}

function tdReport(version: number): Uint8Array {
  const report = Buffer.alloc(1024);
  report[0] = 0x81;
  report[2] = version;
  return report;
}

/** Makes its hashes right (see tdreport.ts): no mutation would. */
function withHashes(input: Uint8Array): Uint8Array {
  if (input.length < 1024) return input;
  const report = Buffer.from(input);
  createHash("sha384").update(report.subarray(256, 495)).digest().copy(report, 32);
  createHash("sha384").update(report.subarray(512, 1024)).digest().copy(report, 80);
  return report;
}

function framed(message: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  return Buffer.concat([length, message]);
}

function streamOf(bytes: Uint8Array): PassThrough {
  const stream = new PassThrough({ highWaterMark: bytes.length + 1 });
  stream.end(bytes);
  return stream;
}

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { littleEndian, littleEndian64 } from "../../../bytes/numbers.ts";
import type { SnpEvidence } from "../../evidence.ts";
import { parseSnpReport } from "../../snp/report.ts";

/**
 * For tests: CoCo's attestation API as its api-server-rest has it since guest-components 0.21, over any attester. Earlier
 * ones ignore `encoding`, so that what they attest is the text.
 */
export type CocoRoute = (
  runtimeData: Uint8Array,
  response: ServerResponse,
) => Promise<string | Uint8Array | undefined> | string | Uint8Array | undefined;

export interface CocoServer {
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** @param answer the body of 200, or undefined where it has answered by itself */
export async function startCocoApi(host: string, answer: CocoRoute, port = 0): Promise<CocoServer> {
  const server = createServer((request, response) => {
    void (async () => {
      const { pathname, searchParams } = new URL(request.url ?? "", "http://api");
      if (pathname !== "/aa/evidence") return response.writeHead(404).end("URL NOT FOUND");
      const text = searchParams.get("runtime_data");
      const encoding = searchParams.get("encoding");
      // As its decoder: URL-safe and without padding.
      const isGood = encoding === null || (encoding === "base64" && /^[\w-]*$/.test(text ?? ""));
      if (text === null || !isGood) return response.writeHead(400).end("BAD REQUEST");
      const runtimeData = Buffer.from(text, encoding === null ? "utf8" : "base64url");
      const body = await answer(runtimeData, response);
      if (body !== undefined) response.writeHead(200, { "content-type": "application/octet-stream" }).end(body);
      return undefined;
    })();
  });
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The document of an SNP report, as serde writes the crate's structures. */
export function cocoSnpJson({ report: bytes, certificates }: SnpEvidence): string {
  const { version, raw } = parseSnpReport(bytes);
  const list = (at: number, length: number): number[] => [...raw.subarray(at, at + length)];
  const isTurin = version >= 3 && raw[0x188] === 0x1a;
  const tcb = (at: number): object => {
    const byte = (index: number): number => raw[at + index] ?? NaN;
    return isTurin
      ? { fmc: byte(0), bootloader: byte(1), tee: byte(2), snp: byte(3), microcode: byte(7) }
      : { fmc: null, bootloader: byte(0), tee: byte(1), snp: byte(6), microcode: byte(7) };
  };
  const firmware = (at: number): object => ({ major: raw[at + 2], minor: raw[at + 1], build: raw[at] });
  // JSON.stringify knows no bigint, and a double not every u64.
  const exact: string[] = [];
  const u64 = (at: number): string => `@${exact.push(String(littleEndian64(raw, at))) - 1}@`;
  const document = {
    attestation_report: {
      version,
      guest_svn: littleEndian(raw, 0x04, 4),
      policy: u64(0x08),
      family_id: list(0x10, 16),
      image_id: list(0x20, 16),
      vmpl: littleEndian(raw, 0x30, 4),
      sig_algo: littleEndian(raw, 0x34, 4),
      current_tcb: tcb(0x38),
      plat_info: u64(0x40),
      key_info: littleEndian(raw, 0x48, 4),
      report_data: list(0x50, 64),
      measurement: list(0x90, 48),
      host_data: list(0xc0, 32),
      id_key_digest: list(0xe0, 48),
      author_key_digest: list(0x110, 48),
      report_id: list(0x140, 32),
      report_id_ma: list(0x160, 32),
      reported_tcb: tcb(0x180),
      cpuid_fam_id: version < 3 ? null : raw[0x188],
      cpuid_mod_id: version < 3 ? null : raw[0x189],
      cpuid_step: version < 3 ? null : raw[0x18a],
      chip_id: list(0x1a0, 64),
      committed_tcb: tcb(0x1e0),
      current: firmware(0x1e8),
      committed: firmware(0x1ec),
      launch_tcb: tcb(0x1f0),
      launch_mit_vector: version < 5 ? null : u64(0x1f8),
      current_mit_vector: version < 5 ? null : u64(0x200),
      signature: { r: list(0x2a0, 72), s: list(0x2e8, 72) },
    },
    cert_chain: certificates.map((der, index) => ({
      cert_type: index === 0 ? "VCEK" : index === 1 ? "ASK" : "ARK",
      data: [...der],
    })),
  };
  return JSON.stringify(document).replaceAll(/"@(\d+)@"/g, (_, index: string) => exact[Number(index)] ?? "");
}

/** The same, as the crate sev 3 and 4 writes it. */
export function legacyCocoSnpJson({ report: raw }: SnpEvidence): string {
  const list = (at: number, length: number): number[] => [...raw.subarray(at, at + length)];
  const u32 = (at: number): number => littleEndian(raw, at, 4);
  const exact: string[] = [];
  const u64 = (at: number): string => `@${exact.push(String(littleEndian64(raw, at))) - 1}@`;
  const tcb = (at: number): object => ({
    bootloader: raw[at],
    tee: raw[at + 1],
    _reserved: list(at + 2, 4),
    snp: raw[at + 6],
    microcode: raw[at + 7],
  });
  const document = {
    attestation_report: {
      version: u32(0),
      guest_svn: u32(4),
      policy: u64(8),
      family_id: list(0x10, 16),
      image_id: list(0x20, 16),
      vmpl: u32(0x30),
      sig_algo: u32(0x34),
      current_tcb: tcb(0x38),
      plat_info: u64(0x40),
      _author_key_en: u32(0x48),
      _reserved_0: u32(0x4c),
      report_data: list(0x50, 64),
      measurement: list(0x90, 48),
      host_data: list(0xc0, 32),
      id_key_digest: list(0xe0, 48),
      author_key_digest: list(0x110, 48),
      report_id: list(0x140, 32),
      report_id_ma: list(0x160, 32),
      reported_tcb: tcb(0x180),
      _reserved_1: list(0x188, 24),
      chip_id: list(0x1a0, 64),
      committed_tcb: tcb(0x1e0),
      current_build: raw[0x1e8],
      current_minor: raw[0x1e9],
      current_major: raw[0x1ea],
      _reserved_2: raw[0x1eb],
      committed_build: raw[0x1ec],
      committed_minor: raw[0x1ed],
      committed_major: raw[0x1ee],
      _reserved_3: raw[0x1ef],
      launch_tcb: tcb(0x1f0),
      _reserved_4: list(0x1f8, 168),
      signature: { r: list(0x2a0, 72), s: list(0x2e8, 72), _reserved: list(0x330, 368) },
    },
    cert_chain: null,
  };
  return JSON.stringify(document).replaceAll(/"@(\d+)@"/g, (_, index: string) => exact[Number(index)] ?? "");
}

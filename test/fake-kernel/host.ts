import { X509Certificate } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Attester, SnpEvidence } from "../../attestation/evidence.ts";
import { createTestVendor, makeEvidence, type TestVendor } from "../../attestation/tdx/test-vendor.ts";
import { CERTIFICATE_GUIDS, encodeCertificateTable } from "../../attestation/collect/test-certificate-table.ts";
import type { Faults } from "./faults.ts";

/** For tests: what lies below the kernel: the secure processor, which is the software TEE's, and the host. */
export class Host {
  readonly #attester: Attester<SnpEvidence>;
  readonly #faults: Faults;
  readonly #onHold: () => void;
  #intel: Promise<TestVendor> | undefined;

  /** @param onHold called when a report is asked for that has to wait */
  constructor(attester: Attester<SnpEvidence>, faults: Faults, onHold: () => void) {
    this.#attester = attester;
    this.#faults = faults;
    this.#onHold = onHold;
  }

  async report(reportData: Buffer): Promise<Buffer> {
    if (this.#faults.hold) this.#onHold();
    while (this.#faults.hold) await delay(10);
    if (this.#faults.provider !== "tdx_guest") return Buffer.from((await this.#attester.collect(reportData)).report);
    this.#intel ??= createTestVendor();
    return Buffer.from(makeEvidence(await this.#intel, { body: { reportData } }).quote);
  }

  /** Just as long as it has to be; empty where the host gives none. */
  async certificateTable(): Promise<Buffer> {
    const form = this.#faults.certificates;
    if (form === "none" || form === "no file") return Buffer.alloc(0);
    if (form === "malformed") return Buffer.alloc(100, 0xff);
    const { certificates } = await this.#attester.collect(Buffer.alloc(64));
    const { vcek, ask, ark } = CERTIFICATE_GUIDS;
    const entries = certificates.map((der, index) => ({
      guid: [vcek, ask, ark][index] ?? "",
      bytes: form === "der" ? der : Buffer.from(new X509Certificate(der).toString()),
    }));
    return Buffer.from(encodeCertificateTable(form === "issuers" ? entries.slice(1) : entries));
  }
}

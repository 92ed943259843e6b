import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { encodeGuestPull, type RegistryMirror } from "../../manifest/guest-pull.ts";
import { quote } from "../../runtime/fault.ts";
import { systemReason } from "../../kubernetes/error.ts";
import { GenerateError } from "./error.ts";

/** What the options say about how guests pull images. */
export interface GuestPullOptions {
  /** Files with certificates of CAs, PEM. */
  readonly guestCas?: readonly string[] | undefined;
  readonly guestRegistryMirrors?: readonly RegistryMirror[] | undefined;
  readonly guestHttpsProxy?: string | undefined;
  readonly guestNoProxy?: string | undefined;
}

/** Each certificate as openssl writes it, so that the same ones give the same bytes. */
const BLOCK = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----/g;

/**
 * @returns `cdh.toml`, or undefined where nothing is said
 * @throws GenerateError unreadable_file, invalid_guest_ca
 */
export async function guestPullOf(options: GuestPullOptions): Promise<string | undefined> {
  const files = await Promise.all((options.guestCas ?? []).map(async (path) => certificatesIn(path)));
  return encodeGuestPull({
    rootCertificates: [...new Set(files.flat())],
    httpsProxy: options.guestHttpsProxy,
    noProxy: options.guestNoProxy,
    mirrors: options.guestRegistryMirrors ?? [],
  });
}

async function certificatesIn(path: string): Promise<string[]> {
  let text: string;
  try {
    text = await readFile(path, "latin1");
  } catch (error) {
    const fault = { where: path, got: systemReason(error), want: "a file that can be read" };
    throw new GenerateError("unreadable_file", "the certificates can't be read", [fault], error);
  }
  const rest = text.replaceAll(BLOCK, "").replaceAll(/^#.*$/gm, "").trim();
  const blocks = text.match(BLOCK) ?? [];
  if (blocks.length === 0 || rest.includes("PRIVATE KEY")) {
    throw unusable(path, rest.includes("PRIVATE KEY") ? "a private key" : "no certificate");
  }
  return blocks.map((block) => {
    try {
      return new X509Certificate(block).toString();
    } catch (error) {
      throw unusable(path, quote(error instanceof Error ? error.message : String(error)), error);
    }
  });
}

function unusable(where: string, got: string, cause?: unknown): GenerateError {
  const fault = {
    where,
    got,
    want: "certificates of CAs, PEM, and nothing secret: the host reads what guests are told",
  };
  return new GenerateError("invalid_guest_ca", "the certificates for guests can't be used", [fault], cause);
}

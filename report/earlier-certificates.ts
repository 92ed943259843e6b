import { LONGEST_CERTIFICATE_LIFETIME_MS } from "../manifest/certificate-lifetime.ts";
import type { Generation } from "./generation.ts";

/**
 * Until when certificates of earlier generations may live, for whoever trusts the root CA. They ended to be issued when
 * the mesh CA of now began, and none lives longer than the longest lifetime of the history. The manifest in force counts,
 * too: before a recovery it had another mesh CA. It is as right as the Coordinator's clock was.
 *
 * @param meshCaBegin as its certificate says, which begins as long before its making as any other
 */
export function earlierCertificatesEnd(meshCaBegin: Date, history: readonly Generation[]): Date {
  const lifetimes = history.map(({ content }) => {
    return content?.manifest.certificateLifetimeMs ?? LONGEST_CERTIFICATE_LIFETIME_MS;
  });
  return new Date(meshCaBegin.getTime() + Math.max(...lifetimes));
}

import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";

/** Whoever makes the application fetch a URL may get the pod's certificate for himself. */
export function attestationApiFindings({ annotations, places }: PreparedPod): Finding[] {
  if (!annotations.openAttestationApi) return [];
  return [
    {
      severity: "warning",
      code: "attestation_api",
      where: places.annotation(ANNOTATION.openAttestationApi),
      got: "CoCo's attestation API stays open to the pod",
      want: "no such annotation: the Initializer then closes it, with NET_ADMIN",
      hint: "an application that fetches URLs for others then gives them evidence, and with it the pod's certificate",
    },
  ];
}

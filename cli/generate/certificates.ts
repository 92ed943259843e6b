/** The volume with key, certificates and secrets, and where it is mounted. */
export const CERTIFICATES = { volume: "contrast-tls-certs", mountPath: "/tls-config" } as const;

/**
 * What Edgeless Systems' Contrast has for the same. Pods that were made for it get our volume in the place of this one, with the
 * same paths.
 */
export const FORMER = { volume: "contrast-secrets", mountPath: "/contrast" } as const;

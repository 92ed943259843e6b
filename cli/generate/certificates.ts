/** The volume with key, certificates and secrets, and where it is mounted. */
export const CERTIFICATES = { volume: "contrast-tls-certs", mountPath: "/tls-config" } as const;

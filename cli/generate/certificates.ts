/** The volume with key and certificates, and where it is mounted. */
export const CERTIFICATES = { volume: "contrast-tls-certs", mountPath: "/tls-config" } as const;

/** The volume with key, certificates and secrets, and where it is mounted. */
export const CERTIFICATES = { volume: "contrast-tls-certs", mountPath: "/tls-config" } as const;

/** Where Edgeless Systems' Contrast has the same, and where this volume may be mounted as well. */
export const FORMER_MOUNT_PATH = "/contrast";

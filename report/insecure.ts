/** What is said wherever a software TEE is trusted. */
export const INSECURE = "INSECURE: software TEE, nothing is proven about hardware";

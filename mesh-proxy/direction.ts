/** Of a connection: from outside to the application of the pod, or from the application to an upstream. */
export type Direction = "ingress" | "egress";

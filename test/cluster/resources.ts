/** Resources for tests: what users write before `generate`. */

export interface AppOptions {
  readonly kind?: string;
  readonly apiVersion?: string;
  /** A program for node, in one string. */
  readonly script: string;
  /** `servicemesh-ingress` and others, without their prefix. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Beside the template and the selector. */
  readonly spec?: object;
  /** Of the pod, beside its containers. */
  readonly pod?: object;
  /** Of the container. */
  readonly container?: object;
}

export const IMAGE = "contrast/emojivoto:0.1.0";

export const RESOURCES = { limits: { memory: "64Mi" }, requests: { cpu: "10m", memory: "64Mi" } };

/** A container that runs a script. */
export function container(name: string, script: string, options: object = {}): object {
  const security = { runAsUser: 65532, runAsGroup: 65532, runAsNonRoot: true, capabilities: { drop: ["ALL"] } };
  return {
    name,
    image: IMAGE,
    command: ["node", "-e", script],
    resources: RESOURCES,
    securityContext: security,
    ...options,
  };
}

export function pod(
  name: string,
  { script, annotations = {}, pod = {}, container: more = {} }: AppOptions,
): { metadata: object; spec: object } {
  const prefixed = Object.entries(annotations).map(([key, value]) => [`contrast.edgeless.systems/${key}`, value]);
  return {
    metadata: { labels: { app: name }, annotations: Object.fromEntries(prefixed) as object },
    spec: {
      runtimeClassName: "contrast-cc",
      automountServiceAccountToken: false,
      containers: [container(name, script, more)],
      ...pod,
    },
  };
}

/** A workload with a pod template. */
export function workload(name: string, options: AppOptions): object {
  const { kind = "Deployment", apiVersion = "apps/v1", spec = {} } = options;
  return {
    apiVersion,
    kind,
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } }, template: pod(name, options), ...spec },
  };
}

export function service(name: string, ports: Readonly<Record<number, number>>, spec: object = {}): object {
  const list = Object.entries(ports).map(([port, targetPort]) => ({
    name: `p${port}`,
    port: Number(port),
    targetPort,
  }));
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: name }, ports: list, ...spec },
  };
}

/** Answers every request with "hello", until it is asked to end. */
export function httpServer(port: number, host = "::"): string {
  return `require("node:http").createServer((_, r) => r.end("hello")).listen(${port}, "${host}"); process.once("SIGTERM", () => process.exit(0))`;
}

import { MESH_PROXY } from "../../../policy/own-images.ts";
import { formatEndpoint } from "../../../mesh-rules/endpoint.ts";
import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { meshOf } from "./mesh.ts";

interface Listener {
  /** Undefined: all addresses. */
  readonly host?: string;
  readonly port: number;
  readonly what: string;
  readonly where: () => string;
}

/** Of the mesh proxy (docs/design.md §2): the rules of iptables lead to these, on loopback. */
const INGRESS_PORTS = [15_006, 15_007];

/** What the mesh proxy is to listen at, where another one of the pod listens already. */
export function listenerFindings(pod: PreparedPod): Finding[] {
  const ofProxy = proxyListeners(pod);
  const among = ofProxy.flatMap((listener, index) => collisions(ofProxy.slice(0, index), listener));
  return [...among, ...applicationListeners(pod).flatMap((listener) => collisions(ofProxy, listener))];
}

function proxyListeners({ spec, places }: PreparedPod): Listener[] {
  const { ingress, egress, adminPort } = meshOf(spec);
  const own = ["127.0.0.1", "::1"].flatMap((host) => INGRESS_PORTS.map((port) => ({ host, port })));
  return [
    ...(ingress === undefined ? [] : own).map((endpoint) => ({
      ...endpoint,
      what: "the mesh proxy itself",
      where: () => places.annotation(ANNOTATION.ingress),
    })),
    ...(adminPort === undefined ? [] : [adminPort]).map((port) => ({
      port,
      what: "the mesh proxy's admin interface",
      where: () => places.annotation(ANNOTATION.adminPort),
    })),
    ...egress.map(({ name, listen }) => ({
      ...listen,
      what: `egress rule ${name}`,
      where: () => places.annotation(ANNOTATION.egress),
    })),
  ];
}

/** An application listens at all addresses where nothing else is known. */
function applicationListeners({ spec, places }: PreparedPod): Listener[] {
  return spec.containers
    .filter(({ name }) => name !== MESH_PROXY)
    .flatMap(({ name, ports }) =>
      (ports ?? []).flatMap(({ containerPort: port, protocol }, index) =>
        (protocol ?? "TCP") === "TCP"
          ? [{ port, what: `container ${name}`, where: () => places.of(name, "ports", index) }]
          : [],
      ),
    );
}

function collisions(others: readonly Listener[], listener: Listener): Finding[] {
  const other = others.find(
    ({ host, port }) =>
      port === listener.port && (host === undefined || listener.host === undefined || host === listener.host),
  );
  if (other === undefined) return [];
  const got = `${shown(listener)}, where ${shown(other)} listens`;
  return [{ severity: "error", code: "listener", where: listener.where(), got, want: "another port for one of them" }];
}

function shown({ host, port, what }: Listener): string {
  return `${what} at ${host === undefined ? `port ${port}` : formatEndpoint({ host, port })}`;
}

import type { IngressRule } from "../../../mesh-rules/ingress-rules.ts";
import { parsePort } from "../../../runtime/variables.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { actionsOf, allContainers, type Action, type Container } from "../../../kubernetes/pod-spec.ts";
import { meshOf } from "./mesh.ts";

/** Probes, from outside the pod and without a certificate, at ports where the mesh proxy asks for a client certificate, or speaks TLS while they don't. */
export function probeFindings({ spec, places }: PreparedPod): Finding[] {
  const mesh = meshOf(spec);
  const { adminPort } = mesh;
  // The kubelet comes from outside: in mode `bind` it finds the mesh proxy at these ports, too.
  const ingress = mesh.ingress ?? mesh.bound?.rules;
  if (ingress === undefined) return [];
  return allContainers(spec).flatMap((container) =>
    actionsOf(container).flatMap(({ path, action }): Finding[] => {
      const probe = networkProbe(action);
      const port = probe && portOf(probe.port, container);
      if (probe === undefined || port === undefined || port === adminPort) return [];
      const got = faultOf(
        probe,
        port,
        ingress.find((rule) => rule.port === port),
      );
      if (got === undefined) return [];
      return [
        {
          severity: "warning",
          code: "probe",
          where: places.of(container.name, ...path),
          got,
          want: `an exec probe, or an ingress rule that lets the port pass (${container.name}#${port}#true)`,
          hint: "the kubelet has no certificate of the mesh",
        },
      ];
    }),
  );
}

interface NetworkProbe {
  readonly kind: "httpGet" | "tcpSocket" | "grpc";
  readonly port: string | number;
  readonly speaksTls: boolean;
}

function networkProbe({ httpGet, tcpSocket, grpc }: Action): NetworkProbe | undefined {
  // With a host they are about somebody else.
  if (httpGet && !httpGet.host) return { kind: "httpGet", port: httpGet.port, speaksTls: httpGet.scheme === "HTTPS" };
  if (tcpSocket && !tcpSocket.host) return { kind: "tcpSocket", port: tcpSocket.port, speaksTls: false };
  return grpc ? { kind: "grpc", port: grpc.port, speaksTls: false } : undefined;
}

/** A name is one of the container's own ports. */
function portOf(port: string | number, { ports }: Container): number | undefined {
  return ports?.find(({ name }) => name === port)?.containerPort ?? parsePort(String(port));
}

function faultOf({ kind, speaksTls }: NetworkProbe, port: number, rule: IngressRule | undefined): string | undefined {
  if (rule?.disableTls === true) return undefined;
  if (rule === undefined) {
    const end =
      kind === "tcpSocket"
        ? "where the mesh proxy answers, whatever the application does"
        : "which asks for a client certificate";
    return `${kind} at port ${port}, ${end}`;
  }
  return kind === "tcpSocket" || speaksTls ? undefined : `${kind} in plain text at port ${port}, which speaks TLS`;
}

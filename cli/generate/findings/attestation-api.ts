import { allContainers, type Container } from "../../../kubernetes/pod-spec.ts";
import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { INITIALIZER } from "../initializer.ts";
import { isVolumeContainer } from "../volume-container.ts";
import { MESH_PROXY } from "../../../policy/own-images.ts";

/**
 * Who else may ask CoCo's attestation API for evidence of a pod (docs/coco.md). The hardened guest image has it, and `generate`
 * can't see which image the nodes have: all guests are taken for such.
 */
export function attestationApiFindings(pod: PreparedPod): Finding[] {
  if (pod.platform === "simulated") return [];
  const left = pod.annotations.openAttestationApi ? [leftOpen(pod)] : unclosed(pod);
  return [...left, ...removers(pod)];
}

const CONSEQUENCE =
  "an application that fetches URLs for others then gives them evidence, and with it the pod's certificate";

function leftOpen({ places }: PreparedPod): Finding {
  return {
    severity: "warning",
    code: "attestation_api",
    where: places.annotation(ANNOTATION.openAttestationApi),
    got: "CoCo's attestation API stays open to the pod",
    want: "no such annotation: the Initializer then closes it, with NET_ADMIN",
    hint: CONSEQUENCE,
  };
}

/** The commands of the Initializer close it, too. */
const COMMANDS = new Set(["static-rules", "lift-default-deny"]);

const closes = ({ name, command, args }: Container): boolean =>
  name === INITIALIZER || COMMANDS.has([...(command ?? []), ...(args ?? [])].at(-1) ?? "");

/** What runs before it is closed may ask, so that it has to be the first of all. */
function unclosed({ spec, annotations, places }: PreparedPod): Finding[] {
  const [first, ...others] = allContainers(spec);
  const isClosed = first !== undefined && closes(first);
  if (annotations.role === "coordinator") {
    // The Coordinator needs it, and should be alone with it.
    return others
      .slice(isClosed ? 1 : 0)
      .map(({ name }) => ({
        severity: "warning",
        code: "attestation_api",
        where: places.of(name),
        got: `${name} may ask for evidence of the Coordinator`,
        want: "the Coordinator alone in its pod",
      }));
  }
  if (isClosed) return [];
  return [
    {
      severity: "warning",
      code: "attestation_api",
      where: places.workload,
      got: "nothing closes CoCo's attestation API",
      want: "the Initializer, or its command static-rules or lift-default-deny as the first init container",
      hint: CONSEQUENCE,
    },
  ];
}

/** Who may change the packet filter can take the rule away. */
function removers({ spec, places }: PreparedPod): Finding[] {
  return allContainers(spec)
    .filter((container) => container.name !== MESH_PROXY && !closes(container) && !isVolumeContainer(container))
    .filter(({ securityContext: context }) => {
      const added = context?.capabilities?.add ?? [];
      return context?.privileged === true || added.some((name) => /^(?:CAP_)?(?:NET_ADMIN|SYS_ADMIN|ALL)$/i.test(name));
    })
    .map(({ name }) => ({
      severity: "warning",
      code: "attestation_api",
      where: places.of(name, "securityContext"),
      got: `${name} may open CoCo's attestation API again`,
      want: "neither privileged nor NET_ADMIN, SYS_ADMIN or ALL",
    }));
}

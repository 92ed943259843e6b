import { parseEgressRules } from "../../mesh-rules/egress-rules.ts";
import { parseIngressRules } from "../../mesh-rules/ingress-rules.ts";
import { Malformed } from "../../runtime/environment.ts";
import {
  parsePermissions,
  type Permission,
  PERMISSION_NAMES,
  type PermissionChanges,
} from "../../policy/permissions.ts";
import { type Fault, oneEditApart, quote } from "../../runtime/fault.ts";
import { parsePort } from "../../runtime/variables.ts";
import { type TemplateFault, templateFaults } from "../../secret-files/templates-variable.ts";
import { parseSecureVolumes, type SecureVolume } from "./secure-volumes.ts";

/** The annotations by which a pod says what it wants (docs/design.md §3). */
const PREFIX = "contrast.edgeless.systems/";

export const ANNOTATION = {
  ingress: `${PREFIX}servicemesh-ingress`,
  ingressMode: `${PREFIX}servicemesh-ingress-mode`,
  egress: `${PREFIX}servicemesh-egress`,
  adminPort: `${PREFIX}servicemesh-admin-interface-port`,
  skipInitializer: `${PREFIX}skip-initializer`,
  keepDefaultDeny: `${PREFIX}keep-default-deny`,
  workloadSecretId: `${PREFIX}workload-secret-id`,
  podRole: `${PREFIX}pod-role`,
  keyGroup: `${PREFIX}key-group`,
  allow: `${PREFIX}allow`,
  deny: `${PREFIX}deny`,
  openAttestationApi: `${PREFIX}open-attestation-api`,
  renew: `${PREFIX}renew`,
  secureVolumes: `${PREFIX}secure-pv`,
} as const;

/** Begins those that are a template each, of the file whose name is the rest. */
export const SECRET_TEMPLATE = `${PREFIX}secret-template-`;

export interface PodAnnotations {
  /** Empty is not the same as missing: every port needs a client certificate. */
  readonly ingress: string | undefined;
  /** Missing: as the mesh proxy in the file has it, or `transparent`. */
  readonly ingressMode: "transparent" | "bind" | undefined;
  readonly egress: string | undefined;
  readonly adminPort: string | undefined;
  readonly skipInitializer: boolean;
  /** Nobody connects to the pod, or its guest denies nothing. */
  readonly keepDefaultDeny: boolean;
  /** Empty: the pod gets no secrets. Missing: it gets those of its own name. */
  readonly workloadSecretId: string | undefined;
  readonly role: "coordinator" | undefined;
  /** The group that reads key and secret; empty: none does. Missing: it follows from the pod. */
  readonly keyGroup: string | undefined;
  /** What the host may do with this pod, and what not, whatever it may do with others. */
  readonly permissions: PermissionChanges;
  /** The Initializer does not keep the pod from CoCo's attestation API. */
  readonly openAttestationApi: boolean;
  /** The Initializer stays, and renews the certificates. */
  readonly renew: boolean;
  /** Templates of files with secrets, by the names of the files, in the order of these. */
  readonly secretTemplates: Readonly<Record<string, string>>;
  /** Encrypted volumes of the pod, on disks of the host. */
  readonly secureVolumes: readonly SecureVolume[];
}

/** One place where annotations stand. */
export interface Annotated {
  readonly annotations: Readonly<Record<string, string>>;
  /** `file:line:column` of an annotation. */
  readonly place: (name: string) => string;
}

/**
 * @param sources where annotations stand; what a later one says goes
 * @param faults what is wrong is added here
 */
export function readAnnotations(sources: readonly Annotated[], faults: Fault[]): PodAnnotations {
  const find = (name: string): (Annotated & { readonly text: string }) | undefined => {
    const source = sources.findLast(({ annotations }) => Object.hasOwn(annotations, name));
    return source && { ...source, text: source.annotations[name] ?? "" };
  };
  /** The text of an annotation, after a look at it. */
  const checked = (name: string, check: (text: string) => readonly Fault[]): string | undefined => {
    const found = find(name);
    for (const { where, got, want } of found === undefined ? [] : check(found.text)) {
      faults.push({ where: [found?.place(name), name, where].filter(Boolean).join(", "), got, want });
    }
    return found?.text;
  };
  const oneOf =
    (...choices: readonly string[]) =>
    (text: string): Fault[] =>
      choices.includes(text)
        ? []
        : [{ where: "", got: quote(text), want: choices.map((choice) => `"${choice}"`).join(" or ") }];

  const permissions = (name: string): Permission[] => {
    const text = checked(name, (names) =>
      parsePermissions(names) === undefined
        ? [{ where: "", got: quote(names), want: `names of ${PERMISSION_NAMES}, with commas between them` }]
        : [],
    );
    return parsePermissions(text ?? "") ?? [];
  };

  faults.push(...unknown(sources));
  const skipInitializer = checked(ANNOTATION.skipInitializer, oneOf("true", "false")) === "true";
  const role = checked(ANNOTATION.podRole, oneOf("coordinator", "")) === "coordinator" ? "coordinator" : undefined;
  const hasNone = skipInitializer || role === "coordinator";
  const renew = checked(ANNOTATION.renew, (text) =>
    text === "true" && hasNone
      ? [{ where: "", got: quote(text), want: '"false": the pod has no Initializer, and no certificates' }]
      : oneOf("true", "false")(text),
  );
  const templates = sources
    .flatMap(({ annotations }) => Object.keys(annotations))
    .filter(isTemplate)
    .toSorted();
  const secretTemplates = Object.fromEntries(
    templates.map((name) => [name.slice(SECRET_TEMPLATE.length), find(name)?.text ?? ""]),
  );
  for (const { file, where, got, want } of faultsOfTemplates(secretTemplates, hasNone)) {
    const name = file === "" ? (templates[0] ?? "") : `${SECRET_TEMPLATE}${file}`;
    faults.push({ where: [find(name)?.place(name), name, where].filter(Boolean).join(", "), got, want });
  }
  const ingressMode = checked(ANNOTATION.ingressMode, oneOf(...MODES));
  const secureVolumes = checked(ANNOTATION.secureVolumes, (text) => {
    const wrong: Fault[] = [];
    parseSecureVolumes(text, wrong);
    return wrong;
  });
  return {
    ingress: checked(ANNOTATION.ingress, (text) => faultsOf(parseIngressRules, text)),
    ingressMode: MODES.find((mode) => mode === ingressMode),
    egress: checked(ANNOTATION.egress, (text) => faultsOf(parseEgressRules, text)),
    adminPort: checked(ANNOTATION.adminPort, (text) =>
      parsePort(text) === undefined ? [{ where: "", got: quote(text), want: "a port from 1 to 65535" }] : [],
    ),
    skipInitializer,
    keepDefaultDeny: checked(ANNOTATION.keepDefaultDeny, oneOf("true", "false")) === "true",
    workloadSecretId: find(ANNOTATION.workloadSecretId)?.text,
    role,
    permissions: { allow: permissions(ANNOTATION.allow), deny: permissions(ANNOTATION.deny) },
    keyGroup: checked(ANNOTATION.keyGroup, (text) =>
      GROUP.test(text) && Number(text) <= LARGEST_GROUP
        ? []
        : [{ where: "", got: quote(text), want: `the number of a group, or "" for none` }],
    ),
    openAttestationApi: checked(ANNOTATION.openAttestationApi, oneOf("true", "false")) === "true",
    renew: renew === "true",
    secretTemplates,
    secureVolumes: parseSecureVolumes(secureVolumes ?? ""),
  };
}

/** What a template's annotation may be about beside the file, whose name it has: Kubernetes takes no more of a name. */
const LONGEST_FILE = 63 - SECRET_TEMPLATE.length + PREFIX.length;

/** @param hasNone there is no Initializer */
function faultsOfTemplates(templates: Readonly<Record<string, string>>, hasNone: boolean): readonly TemplateFault[] {
  const files = Object.keys(templates);
  if (hasNone) {
    const want = "no such annotation: the pod has no Initializer, which would write the file";
    return files.map((file) => ({ file, where: "", got: "a template", want }));
  }
  const unnameable = files.filter((file) => file.length > LONGEST_FILE || !/[A-Za-z0-9]$/.test(file));
  const want = `a file's name of at most ${LONGEST_FILE} characters, a letter or digit last: the API server takes no other`;
  return [...templateFaults(templates), ...unnameable.map((file) => ({ file, where: "", got: quote(file), want }))];
}

function isTemplate(name: string): boolean {
  return name.startsWith(SECRET_TEMPLATE);
}

const MODES = ["transparent", "bind"] as const;

const GROUP = /^(?:0|[1-9]\d{0,9})?$/;
/** As Kubernetes has it (apimachinery, IsValidGroupID). */
const LARGEST_GROUP = 2 ** 31 - 1;

/** By the mesh proxy's own parser, so that both agree. */
function faultsOf(parse: (text: string) => unknown, text: string): readonly Fault[] {
  try {
    parse(text);
    return [];
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return error.faults;
  }
}

/** Nobody would read it, and a pod whose `servicemesh-ingres` nobody reads would be open to everybody, without a word. */
function unknown(sources: readonly Annotated[]): Fault[] {
  const known: readonly string[] = Object.values(ANNOTATION);
  return sources.flatMap(({ annotations, place }) =>
    Object.keys(annotations)
      .filter((name) => name.startsWith(PREFIX) || known.some((candidate) => oneEditApart(name, candidate)))
      .filter((name) => !known.includes(name) && !isTemplate(name))
      .map((name) => {
        const meant = known.find((candidate) => oneEditApart(name, candidate));
        const names = [...known, `${SECRET_TEMPLATE}FILE`].map((other) => other.slice(PREFIX.length));
        const want = meant ?? NOT_HERE[name] ?? `one of ${names.join(", ")}`;
        return { where: place(name), got: quote(name), want };
      }),
  );
}

/** Annotations of Edgeless Systems' Contrast that promise something which nothing here does. */
const NOT_HERE: Readonly<Record<string, string>> = {
  [`${PREFIX}image-store-size`]: "no such annotation: images are unpacked in the VM's memory; raise the memory limits",
};

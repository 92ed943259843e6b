import { parse } from "smol-toml";
import * as z from "zod/mini";
import { quote } from "../runtime/fault.ts";
import { ManifestError } from "./error.ts";
import { parseWith } from "./schema.ts";

/**
 * What a guest of Confidential Containers is told about pulling images: `cdh.toml` of the initdata document, the
 * configuration of its data hub (guest-components, confidential-data-hub/hub/src/config/mod.rs, and image-rs/src/config.rs
 * and src/registry/mod.rs; the keys since 0.14). It is measured with the policy, and the host reads it: no credentials.
 *
 * One configuration has one text. A document with another text is refused, because the data hub has keys that would give
 * a guest another source of secrets, or have it take other images.
 */
export interface GuestPull {
  /** PEM, each one certificate. They are trusted beside the image's own. */
  readonly rootCertificates: readonly string[];
  /** An HTTP proxy without user and password: `http://proxy.example:3128`. */
  readonly httpsProxy: string | undefined;
  /** Hosts that are asked without it, with commas. */
  readonly noProxy: string | undefined;
  /** Where images of a registry are looked for first: `docker.io`, `mirror.example/docker`. */
  readonly mirrors: readonly RegistryMirror[];
}

export interface RegistryMirror {
  readonly registry: string;
  readonly mirror: string;
}

const PEM = /^-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]{1,64}\n)+-----END CERTIFICATE-----\n$/;
/** `host[:port][/path]`, as registries are named. */
export const REGISTRY_PLACE = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?(?:\/[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)*$/;
export const PROXY_URL = /^https?:\/\/[A-Za-z0-9.-]+(?::\d{1,5})?\/?$/;
export const NO_PROXY = /^[A-Za-z0-9.*:/_-]+(?:,[A-Za-z0-9.*:/_-]+)*$/;

const place = z.string().check(z.regex(REGISTRY_PLACE));
const schema = z.strictObject({
  // It has to be there. Secrets of files that the image itself has: of none, where it has no such file.
  kbc: z.strictObject({ name: z.literal("offline_fs_kbc"), url: z.literal("null") }),
  image: z.strictObject({
    extra_root_certificates: z.optional(z.array(z.string().check(z.regex(PEM)))),
    image_pull_proxy: z.optional(
      z.strictObject({
        https_proxy: z.string().check(z.regex(PROXY_URL)),
        no_proxy: z.optional(z.string().check(z.regex(NO_PROXY))),
      }),
    ),
    registry_config: z.optional(
      z.strictObject({
        registry: z.array(z.strictObject({ location: place, mirror: z.array(z.strictObject({ location: place })) })),
      }),
    ),
  }),
});

/** @returns undefined where there is nothing to tell */
export function encodeGuestPull(pull: GuestPull): string | undefined {
  const { rootCertificates, httpsProxy, noProxy, mirrors } = pull;
  const sections = [
    rootCertificates.length === 0
      ? []
      : ["extra_root_certificates = [", ...rootCertificates.map((pem) => `  ${text(pem)},`), "]"],
    httpsProxy === undefined
      ? []
      : [
          "",
          "[image.image_pull_proxy]",
          `https_proxy = ${text(httpsProxy)}`,
          ...(noProxy === undefined ? [] : [`no_proxy = ${text(noProxy)}`]),
        ],
    ...[...new Set(mirrors.map(({ registry }) => registry))].map((registry) => [
      "",
      "[[image.registry_config.registry]]",
      `location = ${text(registry)}`,
      ...mirrors
        .filter((mirror) => mirror.registry === registry)
        .flatMap(({ mirror }) => ["", "[[image.registry_config.registry.mirror]]", `location = ${text(mirror)}`]),
    ]),
  ].flat();
  if (sections.length === 0) return undefined;
  return `${["[kbc]", 'name = "offline_fs_kbc"', 'url = "null"', "", "[image]", ...sections].join("\n")}\n`;
}

/** @throws ManifestError malformed_initdata where it is not what `encodeGuestPull` writes */
export function readGuestPull(toml: string): GuestPull {
  const pull = parsed(toml);
  if (pull !== undefined && encodeGuestPull(pull) === toml) return pull;
  throw new ManifestError("malformed_initdata", "this is no configuration of a guest's image pull", [
    {
      where: 'data."cdh.toml"',
      got: quote(toml.slice(0, 60)),
      want: "certificates, an HTTP proxy and mirrors of registries, as `contrast generate` writes them",
    },
  ]);
}

function parsed(toml: string): GuestPull | undefined {
  let document: unknown;
  try {
    document = parse(toml);
  } catch {
    return undefined;
  }
  const { data } = parseWith(schema, document);
  if (data === undefined) return undefined;
  const { extra_root_certificates: rootCertificates = [], image_pull_proxy: proxy, registry_config } = data.image;
  const registries = registry_config?.registry ?? [];
  return {
    rootCertificates,
    httpsProxy: proxy?.https_proxy,
    noProxy: proxy?.no_proxy,
    mirrors: registries.flatMap(({ location: registry, mirror }) =>
      mirror.map(({ location }) => ({ registry, mirror: location })),
    ),
  };
}

/** A basic string. What is written here has no characters that JSON and TOML escape in different ways. */
function text(value: string): string {
  return JSON.stringify(value);
}

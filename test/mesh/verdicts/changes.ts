import { encodeBitString, encodeDer, encodeOid, encodeSequence, encodeTime } from "../../../pki/der-writer.ts";
import { TAG } from "../../../pki/der.ts";
import { issue, keyOf } from "./authority.ts";
import {
  altered,
  BOOLEAN,
  CRITICAL,
  dns,
  EMPTY,
  extension,
  type Fields,
  integer,
  isOf,
  name,
  names,
  OID,
  replaced,
  shown,
  split,
  text,
} from "./fields.ts";
import type { Make } from "./kinds.ts";

/** Certificates that no library makes, each by what is changed in one of the mesh. */

const HOUR = 3_600_000;
const validity = (from: Uint8Array, until: Uint8Array): Uint8Array => encodeSequence(from, until);
const UTC = 0x17;
const GENERALIZED = 0x18;
const ago = encodeTime(new Date(Date.now() - HOUR));
const later = encodeTime(new Date(Date.now() + HOUR));
/** Like 20301231235959. */
const digits = (ms: number): string => new Date(Date.now() + ms).toISOString().replaceAll(/[-:T]|\..*/g, "");

/** With the length in one byte more than it takes. */
function longer(der: Uint8Array): Uint8Array {
  const { content } = split(der);
  return Buffer.concat([Buffer.from([der[0] ?? 0, 0x83, 0, content.length >> 8, content.length & 0xff]), content]);
}

function endless(der: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([der[0] ?? 0, 0x80]), split(der).content, Buffer.from([0, 0])]);
}

const algorithm = (oid: string, ...parameters: readonly Uint8Array[]): Uint8Array =>
  encodeSequence(encodeOid(oid), ...parameters);

export const CHANGES: Readonly<Record<string, (fields: Fields) => void>> = {
  "of version 1 without extensions": (of) => Object.assign(of, { version: EMPTY, extensions: [] }),
  "of version 1 with extensions": (of) => (of.version = EMPTY),
  "of version 2": (of) => (of.version = encodeDer(0xa0, integer(1))),
  "of version 4": (of) => (of.version = encodeDer(0xa0, integer(3))),
  "with the number zero": (of) => (of.serial = integer(0)),
  "with a negative number": (of) => (of.serial = integer(0x80, 1)),
  "with a number of 21 bytes": (of) => (of.serial = integer(...Array.from({ length: 21 }, () => 0x11))),
  "with a number of 100 bytes": (of) => (of.serial = integer(...Array.from({ length: 100 }, () => 0x11))),
  "with one usage, and then the other in an extension of its own": (of) =>
    replaced(
      of,
      OID.usages,
      extension(OID.usages, encodeSequence(encodeOid(OID.clientAuth))),
      extension(OID.usages, encodeSequence(encodeOid(OID.serverAuth))),
    ),
  "with its key usage twice": (of) => of.extensions.push(...of.extensions.filter(isOf(OID.keyUsage))),
  "with its names twice": (of) => of.extensions.push(names(dns("other"))),
  "with an extension twice that nobody knows": (of) =>
    of.extensions.push(extension(OID.unknown, integer(1)), extension(OID.unknown, integer(2))),
  "with a constraint that says no in so many words": (of) =>
    replaced(
      of,
      OID.basicConstraints,
      extension(OID.basicConstraints, encodeSequence(encodeDer(BOOLEAN, Buffer.from([0])))),
    ),
  "with a yes that is not all ones": (of) =>
    of.extensions.push(extension(OID.unknown, integer(1), encodeDer(BOOLEAN, Buffer.from([1])))),
  "with a no in so many words": (of) =>
    of.extensions.push(extension(OID.unknown, integer(1), encodeDer(BOOLEAN, Buffer.from([0])))),
  "with a key usage that allows nothing": (of) =>
    replaced(of, OID.keyUsage, extension(OID.keyUsage, encodeBitString(Buffer.from([0])))),
  "with a key usage of no bits": (of) => replaced(of, OID.keyUsage, extension(OID.keyUsage, encodeBitString(EMPTY))),
  "with a key usage of more bits than it takes": (of) =>
    replaced(of, OID.keyUsage, extension(OID.keyUsage, encodeBitString(Buffer.from([0x80, 0, 0])))),
  "with a key usage that is none": (of) => replaced(of, OID.keyUsage, extension(OID.keyUsage, integer(0x80))),
  "with usages that are none": (of) => replaced(of, OID.usages, extension(OID.usages, integer(1))),
  "with a list of usages with nothing in it": (of) => replaced(of, OID.usages, extension(OID.usages, encodeSequence())),
  "with usages that everybody has to know": (of) =>
    replaced(
      of,
      OID.usages,
      extension(OID.usages, encodeSequence(encodeOid(OID.clientAuth), encodeOid(OID.serverAuth)), CRITICAL),
    ),
  "with constraints that are none": (of) =>
    replaced(of, OID.basicConstraints, extension(OID.basicConstraints, integer(1))),
  "with names that are none": (of) => replaced(of, OID.names, extension(OID.names, integer(1))),
  "with names, and something behind them": (of) =>
    replaced(of, OID.names, extension(OID.names, Buffer.concat([encodeSequence(dns("web")), integer(1)]))),
  "with names that everybody has to know": (of) =>
    replaced(of, OID.names, extension(OID.names, encodeSequence(dns("web")), CRITICAL)),
  "with a name with a zero byte in it": (of) => replaced(of, OID.names, names(dns("web\0.evil.test"))),
  "with a name of a star": (of) => replaced(of, OID.names, names(dns("*.web.test"), dns("*"))),
  "with a name of punycode": (of) => replaced(of, OID.names, names(dns("xn--mnchen-3ya.test"))),
  "with a name of bytes that are no ASCII": (of) => replaced(of, OID.names, names(dns("m\u00fcnchen.test"))),
  "with a name without a letter": (of) => replaced(of, OID.names, names(dns(""))),
  "with a name of 5000 bytes": (of) => replaced(of, OID.names, names(dns("x".repeat(5_000)))),
  "with an address of five bytes": (of) => replaced(of, OID.names, names(text(0x87, "12345"))),
  "with a URI that is none": (of) => replaced(of, OID.names, names(text(0x86, "not a uri\n"))),
  "with names of kinds that are no use": (of) =>
    replaced(
      of,
      OID.names,
      names(
        encodeDer(0xa0, encodeOid(OID.unknown), encodeDer(0xa0, text(0x0c, "other"))),
        encodeDer(0xa4, name(0x0c, "folder")),
        text(0x88, "\u002a\u0003"),
      ),
    ),
  "with a name of a kind that there is not": (of) => replaced(of, OID.names, names(dns("web"), text(0x8f, "?"))),
  "with a length that is longer than it need be": (of) => (of.validity = longer(of.validity)),
  "with a length of its extensions that is longer than it need be": (of) => (of.extensions = of.extensions.map(longer)),
  "with extensions whose end is marked": (of) => (of.extensions = of.extensions.map(endless)),
  "with unique ids of old": (of) => (of.ids = Buffer.concat([text(0x81, "\0id"), text(0x82, "\0id")])),
  "with another algorithm than it is signed with": (of) => (of.outerAlgorithm = algorithm(OID.ecdsaSha384)),
  "with an algorithm that both name wrongly": (of) => (of.outerAlgorithm = of.algorithm = algorithm(OID.ecdsaSha384)),
  "with parameters of its algorithm that are null": (of) =>
    (of.outerAlgorithm = of.algorithm = algorithm(OID.ecdsaSha256, encodeDer(0x05))),
  "with times in the long form": (of) =>
    (of.validity = validity(text(GENERALIZED, `${digits(-HOUR)}Z`), text(GENERALIZED, `${digits(HOUR)}Z`))),
  "with times with fractions": (of) =>
    (of.validity = validity(text(GENERALIZED, `${digits(-HOUR)}.5Z`), text(GENERALIZED, `${digits(HOUR)}.5Z`))),
  "with times of another zone": (of) =>
    (of.validity = validity(text(UTC, `${digits(-HOUR).slice(2)}+0000`), text(UTC, `${digits(HOUR).slice(2)}+0000`))),
  "without an end": (of) => (of.validity = validity(ago, text(GENERALIZED, "99991231235959Z"))),
  "since the year 1": (of) => (of.validity = validity(text(GENERALIZED, "00010101000000Z"), later)),
  "until a month that there is not": (of) => (of.validity = validity(ago, text(UTC, "491301000000Z"))),
  "until the thirtieth of February": (of) => (of.validity = validity(ago, text(UTC, "490230000000Z"))),
  "with a time that is none": (of) => (of.validity = validity(ago, text(UTC, "tomorrow, at noon"))),
  "of an authority of another key, as it says": (of) =>
    of.extensions.push(extension(OID.authorityKey, encodeSequence(text(0x80, "another key")))),
  "of an authority of another number, as it says": (of) =>
    of.extensions.push(
      extension(OID.authorityKey, encodeSequence(encodeDer(0xa1, encodeDer(0xa4, of.issuer)), text(0x82, "\u0001"))),
    ),
  "with a list of those that are revoked": (of) =>
    of.extensions.push(extension(OID.crlPoints, crlPoints("http://127.0.0.1:1/crl"))),
  "with a list of those that are revoked that everybody has to know": (of) =>
    of.extensions.push(extension(OID.crlPoints, crlPoints("http://127.0.0.1:1/crl"), CRITICAL)),
  "that promises to be stapled": (of) => of.extensions.push(extension(OID.tlsFeature, encodeSequence(integer(5)))),
  "with policies": (of) => of.extensions.push(extension(OID.policies, policies())),
  "with policies that everybody has to know": (of) => of.extensions.push(extension(OID.policies, policies(), CRITICAL)),
  "that requires a policy": (of) =>
    of.extensions.push(extension(OID.policyConstraints, encodeSequence(text(0x80, "\0")), CRITICAL)),
  "that takes no policy for any": (of) => of.extensions.push(extension(OID.inhibitAnyPolicy, integer(0), CRITICAL)),
  "with constraints on names although it is no CA": (of) =>
    of.extensions.push(extension(OID.nameConstraints, permitted(dns("web")), CRITICAL)),
  "whose issuer is written in other letters": (of) => (of.issuer = name(0x0c, "contrast MESH ca")),
  "whose issuer is written in another alphabet": (of) => (of.issuer = name(0x13, "Contrast mesh CA")),
  "whose issuer has a space too many": (of) => (of.issuer = name(0x0c, "Contrast  mesh CA ")),
  "with a subject of 300 letters": (of) => (of.subject = name(0x0c, "x".repeat(300))),
  "with a subject of an empty part": (of) => (of.subject = encodeSequence(encodeDer(TAG.set))),
  "with a subject with a zero byte in it": (of) => (of.subject = name(0x0c, "web\0evil")),
};

function crlPoints(uri: string): Uint8Array {
  return encodeSequence(encodeSequence(encodeDer(0xa0, encodeDer(0xa0, text(0x86, uri)))));
}

function policies(): Uint8Array {
  return encodeSequence(encodeSequence(encodeOid(OID.unknown)));
}

const permitted = (subtree: Uint8Array): Uint8Array => encodeSequence(encodeDer(0xa0, encodeSequence(subtree)));

/** By the mesh CA, with its intermediate CA, and changed. */
export const changed =
  (change: (fields: Fields) => void): Make =>
  async ({ meshCa, intermediate }) => {
    const own = altered(meshCa, await issue(meshCa), change);
    return shown(own, keyOf(own), intermediate);
  };

export const CHANGED: Readonly<Record<string, Make>> = Object.fromEntries(
  Object.entries(CHANGES).map(([kind, change]) => [kind, changed(change)]),
);

import { expect, test } from "vitest";
import { parseTemplate } from "../secret-files/template.ts";
import { secretFiles } from "./secret-files.ts";

const value = (text: string): Buffer => Buffer.from(text);
const DB = {
  name: "db",
  versions: [
    { version: 3, value: value("three") },
    { version: 2, value: value("two") },
  ],
};

function filesOf(
  secrets: Parameters<typeof secretFiles>[0],
  templates: Readonly<Record<string, string>> = {},
  before: Readonly<Record<string, string>> = {},
): { readonly files: Readonly<Record<string, string>>; readonly stale: readonly string[] } {
  const { files, stale } = secretFiles(secrets, {
    templates: new Map(Object.entries(templates).map(([name, text]) => [name, parseTemplate(text)])),
    mode: 0o440,
    before: (name) => (before[name] === undefined ? undefined : value(before[name])),
  });
  expect(files.every(({ mode }) => mode === 0o440)).toBe(true);
  return {
    files: Object.fromEntries(files.map(({ name, content }) => [name, String(content)])),
    stale: stale.map((error) => error.describe()),
  };
}

test("a secret is there by name, and by name and version; a template has the latest", () => {
  expect(filesOf([DB], { "app.conf": 'pw={{ secret "db" }}' })).toEqual({
    files: { "secrets/db": "three", "secrets/db@3": "three", "secrets/db@2": "two", "secrets/app.conf": "pw=three" },
    stale: [],
  });
});

test("where a secret has the name of a template, the file is the template's", () => {
  const conf = { name: "app.conf", versions: [{ version: 1, value: value("from an owner") }] };
  expect(filesOf([conf, DB], { "app.conf": 'pw={{ secret "db" }}' }).files).toMatchObject({
    "secrets/app.conf": "pw=three",
    "secrets/app.conf@1": "from an owner",
  });
});

test("a template whose secret is gone keeps its file; certificates and other secrets don't wait for it", () => {
  const templates = { "app.conf": 'pw={{ secret "gone" }}', other: '{{ secret "db" }}' };
  const { files, stale } = filesOf([DB], templates, { "app.conf": "pw=before" });
  expect(files).toMatchObject({ "secrets/app.conf": "pw=before", "secrets/other": "three", "secrets/db": "three" });
  expect(Object.keys(files)).not.toContain("secrets/gone");
  expect(stale).toEqual([expect.stringContaining("secret_missing: ")]);
});

test("the same where a new value does not fit", () => {
  const binary = { name: "db", versions: [{ version: 4, value: Buffer.from([0xff]) }] };
  const { files, stale } = filesOf([binary], { "app.conf": '{{ secret "db" }}' }, { "app.conf": "pw=before" });
  expect(files["secrets/app.conf"]).toBe("pw=before");
  expect(stale).toEqual([expect.stringContaining("secret_not_text: ")]);
});

test("a file that never was is waited for", () => {
  expect(() => filesOf([DB], { "app.conf": '{{ secret "gone" }}' })).toThrow(
    expect.objectContaining({ code: "secret_missing", transient: true }) as Error,
  );
});

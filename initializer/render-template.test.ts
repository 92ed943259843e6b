import { assert, property, string, uint8Array } from "fast-check";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { parseTemplate } from "../secret-files/template.ts";
import { LARGEST_FILE, renderTemplate } from "./render-template.ts";

function render(text: string, secrets: Readonly<Record<string, string | Uint8Array>>): Buffer {
  const values = new Map(Object.entries(secrets).map(([name, value]) => [name, Buffer.from(value)]));
  return renderTemplate("app.conf", parseTemplate(text), values);
}

const HOSTILE = `x"\n{{ secret "other" }}\r\n$(rm -rf /) \\ ' é 💥 \u0085\u2028\ufeff`;

test("a value stands where the template says, and what is in it is no template", () => {
  const file = render('user=app\npassword={{ secret "db" }}\n{{ "{{" }} x }}', { db: '{{ secret "api" }}', api: "no" });
  expect(file.toString()).toBe('user=app\npassword={{ secret "api" }}\n{{ x }}');
});

test("filters keep a value from the syntax around it: JSON, YAML, base64 and URLs read the same back", () => {
  const secrets = { db: HOSTILE };
  const json = render('{"a":1,"pw":{{ secret "db" | json }},"b":2}', secrets).toString();
  expect(JSON.parse(json)).toEqual({ a: 1, pw: HOSTILE, b: 2 });
  expect(parse(`a: 1\npw: ${render('{{ secret "db" | json }}', secrets).toString()}\nb: 2`)).toEqual({
    a: 1,
    pw: HOSTILE,
    b: 2,
  });
  const url = new URL(
    render('postgres://app:{{ secret "db" | url }}@db:5432/x?y={{ secret "db"|url }}', secrets).toString(),
  );
  expect(decodeURIComponent(url.password)).toBe(HOSTILE);
  expect(url.host).toBe("db:5432");
  expect(url.searchParams.get("y")).toBe(HOSTILE);
  const base64 = render('{{ secret "db" | base64 }}', secrets).toString();
  expect(Buffer.from(base64, "base64").toString()).toBe(HOSTILE);
  expect(JSON.parse(render('{{ secret "db" | base64 | json }}', secrets).toString())).toBe(base64);
});

test("any text comes back from JSON and from a URL, any bytes from base64", () => {
  assert(
    property(string({ unit: "grapheme", minLength: 1 }), (text) => {
      if (text.includes("\0")) return;
      const json = render('{{ secret "db" | json }}', { db: text }).toString();
      expect(JSON.parse(json)).toBe(text);
      expect(parse(json)).toBe(text);
      expect(json).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/); // oxlint-disable-line no-control-regex
      const url = render('{{ secret "db" | url }}', { db: text }).toString();
      expect(url).toMatch(/^[\w.~%-]*$/);
      expect(decodeURIComponent(url)).toBe(text);
    }),
  );
  assert(
    property(uint8Array({ minLength: 1 }), (bytes) => {
      expect(Buffer.from(render('{{ secret "db" | base64 }}', { db: bytes }).toString(), "base64")).toEqual(
        Buffer.from(bytes),
      );
    }),
  );
});

test.each([
  ["not UTF-8", Buffer.from([0x70, 0xff])],
  ["half of a character", Buffer.from([0xed, 0xa0, 0x80])],
  ["a byte of zero", Buffer.from("a\0b")],
])("%s stands in a file only as base64", (_, db) => {
  for (const filter of ["", "| json", "| url", "| json | base64"]) {
    expect(() => render(`{{ secret "db" ${filter} }}`, { db })).toThrow(
      expect.objectContaining({ code: "secret_not_text", where: "template app.conf", transient: true }) as Error,
    );
  }
  expect(render('{{ secret "db" | base64 }}', { db }).toString()).toBe(db.toString("base64"));
});

test("bytes that are text stay what they are, a byte order mark too", () => {
  const db = Buffer.from("\ufeffpw\r\n");
  expect(render('{{ secret "db" }}', { db })).toEqual(db);
});

test("what is missing is named, all of it", () => {
  expect(() =>
    render('{{ secret "db" }}{{ secret "api" }}{{ secret "x" }}{{ secret "api" }}', { x: "hunter2" }),
  ).toThrow(
    expect.objectContaining({
      code: "secret_missing",
      where: "template app.conf",
      got: "nothing for db, api",
      hint: "contrast secret set db --for WORKLOAD",
    }) as Error,
  );
});

test("a file has a largest size, however it comes to it", () => {
  const db = Buffer.alloc(64 * 1024, "\u0001");
  const tooLarge = expect.objectContaining({ code: "secret_file_too_large" }) as Error;
  expect(render('{{ secret "db" }}'.repeat(16), { db })).toHaveLength(LARGEST_FILE);
  expect(() => render('{{ secret "db" }}'.repeat(17), { db })).toThrow(tooLarge);
  expect(() => render('{{ secret "db" | json | json | json | json }}', { db: Buffer.alloc(64 * 1024, "\\") })).toThrow(
    tooLarge,
  );
});

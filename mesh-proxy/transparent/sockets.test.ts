import { expect, test } from "vitest";
import { parseSockets, printSockets, type TransparentSocket } from "./sockets.ts";

test("what is printed is read as the same sockets", () => {
  const sockets: TransparentSocket[] = [
    { family: "IPv4", port: 15_006, fd: 17 },
    { family: "IPv6", port: 15_007, fd: 20 },
  ];
  expect(printSockets(sockets)).toBe("IPv4:15006:17,IPv6:15007:20");
  expect(parseSockets(printSockets(sockets))).toEqual(sockets);
});

test.each(["", "17", "IPv4:15006:17,", "IPv4:8080:17", "IPv5:15006:17", "IPv4:15006:0"])("%j is refused", (text) => {
  expect(() => parseSockets(text)).toThrow("leave it unset");
});

import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { STATUS } from "./status.ts";

test("the codes of refusals are gRPC's", () => {
  expect(status).toMatchObject(STATUS);
});

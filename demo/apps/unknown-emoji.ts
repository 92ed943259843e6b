import { status } from "@grpc/grpc-js";
import type { Status } from "../../api/status.ts";
import { quote } from "../../runtime/fault.ts";
import { CodedError, describeError } from "../../runtime/errors.ts";

/** `unknown_emoji`: ask for one of the list. */
export class UnknownEmoji extends CodedError<"unknown_emoji"> {
  constructor(shortcode: string) {
    super("unknown_emoji", "no emoji has this shortcode", {
      got: quote(shortcode),
      want: "a shortcode of the list, like :doughnut:",
    });
  }
}

/** What the gRPC services answer instead of a result. */
export function toStatus(error: unknown): Status {
  const code = error instanceof UnknownEmoji ? status.NOT_FOUND : status.INTERNAL;
  return { code, details: describeError(error) };
}

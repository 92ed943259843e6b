import { CodedError } from "../../runtime/errors.ts";

/** What the web server refuses, and the HTTP status that says so. */
export const HTTP_STATUS = {
  /** The URL is not one. */
  malformed_request: 400,
  /** Vote for one of `/api/list`. */
  unknown_emoji: 400,
  not_found: 404,
  method_not_allowed: 405,
  /** Try again later. */
  backend_unavailable: 502,
} as const;

export class WebError extends CodedError<keyof typeof HTTP_STATUS> {}

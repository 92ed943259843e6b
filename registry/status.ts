import { ImageError } from "./problem.ts";

/** What a status means that is not the wanted one (RFC 9110 §15). */
export function unexpectedStatus({ host }: URL, status: number): ImageError {
  const got = `status ${status} from ${host}`;
  if (status === 401 || status === 403) return denied(got);
  if (status === 404) {
    const hint = "correct the image's name, or log in: some registries hide private images";
    return new ImageError("not_found", got, "status 200", hint);
  }
  if (status === 429) {
    return new ImageError("busy", got, "status 200", "try again later; logging in may raise the limit");
  }
  if (status >= 500) return new ImageError("busy", got, "status 200", "try again later, or ask who runs it");
  return ImageError.invalid(got, "status 200");
}

export function denied(got: string): ImageError {
  return new ImageError(
    "denied",
    got,
    "credentials that may pull the image",
    "log in by `docker login` or `podman login`, or correct the image's name",
  );
}

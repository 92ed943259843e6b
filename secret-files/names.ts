/** The names of secrets, and of the files that are made of them. Both stand in one folder of a pod. */

const NAME = /^[A-Za-z0-9][-_.A-Za-z0-9]{0,62}$/;

/** Begins the names of the files with the workload's own secret, in every version. */
export const OWN_SECRET = "workload-secret-seed";

export const WANT_NAME = `1 to 63 letters, digits, "-", "_" and ".", a letter or digit first, not ${OWN_SECRET}`;

/** Whether it may name a secret, or a file that is made of secrets. No such name leads out of a folder, or hides in it. */
export function isSecretName(text: string): boolean {
  return NAME.test(text) && !text.startsWith(OWN_SECRET);
}

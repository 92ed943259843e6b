/**
 * The names that a workload's pods can have, by what makes them: a regular expression. Their random parts come from the
 * cluster, so the pattern keeps a policy from being used for the pod of another workload, not a pod from being another.
 */
export function podNamePattern(kind: string, name: string): string {
  const stem = escape(name);
  switch (kind) {
    case "Pod":
      return `^${stem}$`;
    case "StatefulSet":
      return `^${stem}-[0-9]+$`;
    case "Deployment":
      return generated(name, "-[a-z0-9]{1,10}");
    case "CronJob":
      return generated(name, "-[0-9]+(-[0-9]+)?");
    case "Job":
      // Of an indexed one, the index stands in between.
      return generated(name, "(-[0-9]+)?");
    default:
      return generated(name, "");
  }
}

/** A name made from `generateName` has at most 63 characters, 5 of them random; what goes before is cut off. */
const LONGEST_STEM = 58;
const LONGEST_MIDDLE = 12;

function generated(name: string, middle: string): string {
  if (name.length + LONGEST_MIDDLE <= LONGEST_STEM) return `^${escape(name)}${middle}-[a-z0-9]{5}$`;
  return `^${escape(name.slice(0, LONGEST_STEM))}[a-z0-9-]*[a-z0-9]{5}$`;
}

function escape(name: string): string {
  return name.replaceAll(".", "[.]");
}

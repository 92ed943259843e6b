import { PERMISSIONS, unusualPermissions } from "../../../policy/permissions.ts";
import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";

/** What a policy permits beside what every pod needs: nobody should overlook that, and no such pod should be forgotten. */
export function permissionFindings({ annotations, permissions, places }: PreparedPod): Finding[] {
  return unusualPermissions(permissions).map((permission) => ({
    severity: "warning",
    code: "permission",
    where: annotations.permissions.allow.length > 0 ? places.annotation(ANNOTATION.allow) : places.workload,
    got: `${permission}: the host may ${PERMISSIONS[permission]}`,
    want: `no ${permission} where the host is not trusted`,
    hint: "with it the pod keeps nothing secret from the host; the manifest and `contrast verify` name it",
  }));
}

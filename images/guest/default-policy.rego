# The policy of a VM without initdata. It has no rule, so the agent refuses every request.
package agent_policy

default AllowRequestsFailingPolicy := false

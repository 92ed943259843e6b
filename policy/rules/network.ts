/** A number of an IPv4 address, as the runtimes write it: without zeros before it. */
const UPPER_HALF = "12[89]|1[3-9][0-9]|2[0-4][0-9]|25[0-5]";
const OCTET = `[0-9]|[1-9][0-9]|1[01][0-9]|12[0-7]|${UPPER_HALF}`;
/** But 0 and 127. */
const ABROAD = `[1-9]|[1-9][0-9]|1[01][0-9]|12[0-6]|${UPPER_HALF}`;

/**
 * The requests that set up the network, which is the host's. Addresses are taken only in the form in which the Kata runtimes
 * write them: the agent's parser takes more, such as IPv4 inside of IPv6.
 */
export const NETWORK = `# But not the loopback interface: there the mesh proxy listens in plain text, and what comes by it is let in.
UpdateInterfaceRequest := true if {
	nothing_else(input, {"interface"})
	nothing_else(input.interface, {
		"device", "name", "IPAddresses", "mtu", "hwAddr", "devicePath", "type_", "raw_flags",
	})
	is_interface(input.interface.name)
	is_interface(input.interface.device)
	# By this address the agent finds the interface; that of loopback is all zeros.
	is_hardware_address(input.interface.hwAddr)
	regex.match("[1-9a-fA-F]", input.interface.hwAddr)
	# By this path it finds another one, whose hardware address it sets.
	regex.match("^([0-9a-f]{2}([.][0-7])?(/[0-9a-f]{2}([.][0-7])?)*)?$", object.get(input.interface, "devicePath", ""))
	# IFF_NOARP
	object.get(input.interface, "raw_flags", 0) in [0, 128]
	every ip in object.get(input.interface, "IPAddresses", []) {
		nothing_else(ip, {"address", "mask", "family"})
		is_family(object.get(ip, "family", 0))
		is_outside(concat("/", [ip.address, ip.mask]))
	}
}

else := refused("the loopback interface, an address of it or of IPv6 that is off, or a form that Kata's runtimes don't write")

UpdateRoutesRequest := true if {
	nothing_else(input, {"routes"})
	nothing_else(input.routes, {"Routes"})
	every route in input.routes.Routes {
		nothing_else(route, {"dest", "gateway", "device", "source", "scope", "family", "flags", "mtu"})
		is_interface(route.device)
		is_family(object.get(route, "family", 0))
		is_destination(route)
		is_outside_or_none(object.get(route, "gateway", ""))
		is_outside_or_none(object.get(route, "source", ""))
	}
}

else := refused("a route that is or contains loopback or is of IPv6 that is off, or a form that Kata's runtimes don't write")

AddARPNeighborsRequest := true if {
	nothing_else(input, {"neighbors"})
	nothing_else(input.neighbors, {"ARPNeighbors"})
	every neighbor in input.neighbors.ARPNeighbors {
		nothing_else(neighbor, {"toIPAddress", "device", "lladdr", "state", "flags"})
		nothing_else(neighbor.toIPAddress, {"address", "family", "mask"})
		is_interface(neighbor.device)
		is_family(object.get(neighbor.toIPAddress, "family", 0))
		is_hardware_address_or_none(object.get(neighbor, "lladdr", ""))
		is_outside(neighbor.toIPAddress.address)
	}
}

else := refused("a neighbor that is loopback or of IPv6 that is off, or a form that Kata's runtimes don't write")

# As the kernel takes them: what it reads ends at a zero byte, so that "lo" can be written in more than one way.
is_interface(name) if {
	regex.match("^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$", name)
	name != "lo"
}

is_hardware_address(text) if regex.match("^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$", text)

is_hardware_address_or_none(text) if text == ""

is_hardware_address_or_none(text) if is_hardware_address(text)

# IPv4 and IPv6, by the numbers that they have in the protocol.
is_family(family) if family == 0

is_family(family) if {
	family == 1
	policy_data.ipv6
}

# Everything goes by the default route, but what a closer one is for: the kernel asks for its own addresses before.
is_destination(route) if route.dest in ["", "0.0.0.0/0"]

is_destination(route) if {
	route.dest == "::/0"
	policy_data.ipv6
}

is_destination(route) if is_outside(route.dest)

is_outside_or_none(text) if text == ""

is_outside_or_none(text) if is_outside(text)

# An address, or a network without any that is the VM's own in every VM.
is_outside(text) if {
	some pattern in outside_ipv4
	regex.match(pattern, text)
}

is_outside(text) if {
	policy_data.ipv6
	some pattern in outside_ipv6
	regex.match(pattern, text)
}

# 0.0.0.0/8 means this host, and 127.0.0.0/8 is loopback: a network that is wider than these is of the upper half.
outside_ipv4 := [
	"^(${ABROAD})([.](${OCTET})){3}(/([89]|[12][0-9]|3[0-2]))?$",
	"^(${UPPER_HALF})([.](${OCTET})){3}/[1-7]$",
]

# In ::/16 are loopback, the unspecified address, and IPv4 in all its forms.
outside_ipv6 := [
	"^[1-9a-f][0-9a-f]{0,3}:[0-9a-f:]+(/(1[6-9]|[2-9][0-9]|1[01][0-9]|12[0-8]))?$",
	"^[1-9a-f][0-9a-f]{3}:[0-9a-f:]+/([4-9]|1[0-5])$",
	"^[2-9a-f][0-9a-f]{3}:[0-9a-f:]+/3$",
]
`;

#!/usr/bin/env bash
# Installs a Docker engine and compose v2 on Debian 12, from Debian's packages alone: docker.io, and the plugin
# docker-compose of Debian 13, for Debian 12 has only version 1 of it. Nothing is started.
set -euo pipefail

if [[ $EUID -ne 0 ]]; then
  echo "install-engine: needs root, to install packages; run it with sudo" >&2
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  echo "install-engine: this is not Debian; install Docker and its compose plugin as your system does it" >&2
  exit 1
fi

if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends docker.io iptables ca-certificates
fi

if ! docker compose version >/dev/null 2>&1; then
  plugins=/usr/local/lib/docker/cli-plugins
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # The mirror that this machine uses anyway. The lists of Debian 13 are kept apart from those of the machine.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -v security | head -n 1)
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  mkdir -p "$work/lists/partial" "$work/plugin"
  echo "deb [signed-by=$keys] $mirror trixie main" >"$work/sources.list"
  other=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists")
  apt-get "${other[@]}" update -q
  # _apt, who downloads, may not enter the folder; apt then does it as root and says so.
  (cd "$work" && apt-get "${other[@]}" download -q docker-compose 2>/dev/null)
  dpkg-deb -x "$work"/docker-compose_*.deb "$work/plugin"
  install -D -m 0755 "$work/plugin/usr/libexec/docker/cli-plugins/docker-compose" "$plugins/docker-compose"
fi

docker --version
docker compose version

#!/bin/bash
# Installs what the benchmark's peers need, on Debian and its kin: Redis, Tomcat
# 10.1 with a JDK, and iproute2. Asks nothing, starts no service, and does
# nothing where all is there. Needs root or sudo without a password.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive

# missing prints the packages whose files are not there.
missing() {
	command -v redis-server >/dev/null || echo redis-server
	[[ -e /usr/share/tomcat10/lib/catalina-ha.jar ]] || echo tomcat10-common
	command -v javac >/dev/null || echo openjdk-17-jdk-headless
	command -v ip >/dev/null || echo iproute2
}

PATH=$PATH:/usr/sbin:/sbin
mapfile -t packages < <(missing)
((${#packages[@]})) || { echo "setup: all there"; exit 0; }
command -v apt-get >/dev/null || { echo "setup: no apt-get here; install by hand: ${packages[*]}" >&2; exit 1; }
sudo=
((EUID == 0)) || sudo="sudo -n"

# Debian starts a service it installs; the benchmark wants its own, on its own ports.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod +x $policy
	trap '$sudo rm -f $policy' EXIT
fi
$sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends "${packages[@]}"
mapfile -t packages < <(missing)
((${#packages[@]} == 0)) || { echo "setup: still missing: ${packages[*]}" >&2; exit 1; }

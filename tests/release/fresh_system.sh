#!/usr/bin/env bash
# A newcomer's way through the built package, on a Debian that was just installed and has nothing but Python:
#
#   tests/release/fresh_system.sh SUITE FOLDER    # as root; needs debootstrap, uv and 12 GB in the folder
#
# It prints the seconds that each step took. Suites and their Python: bookworm 3.11, trixie 3.13, sid 3.14.
set -euo pipefail
suite=$1 root=$2
here=$(cd "$(dirname "$0")" && pwd)

uv build --quiet --wheel --out-dir "$root.wheel" "$here/../.."
packages=python3,python3-venv,ca-certificates
[ -d "$root" ] || debootstrap --variant=minbase --include="$packages" "$suite" "$root" >"$root.log"

# The machine's name servers and certificates, without which nothing is downloaded.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
chroot "$root" id newcomer &>/dev/null || chroot "$root" useradd --create-home newcomer
install -m 644 "$root.wheel"/trapmid-*.whl "$here/foreign_model.py" "$root/home/newcomer"

cat >"$root/home/newcomer/steps.sh" <<'STEPS'
set -euo pipefail
step() {
  local begin=$SECONDS
  "${@:2}" >"$1.log" 2>&1 || { local code=$?; tail -n 30 "$1.log"; echo "$1: ended with $code"; exit 1; }
  echo "$1: $((SECONDS - begin)) s"
}
python3 --version
step environment python3 -m venv environment
step install environment/bin/pip install --no-cache-dir trapmid-*.whl
environment/bin/pip list --format freeze | grep -vc '^pip=' | sed 's/$/ packages/'
du -sh environment | cut -f 1
PATH=$PWD/environment/bin:$PATH
step version trapmid --version
step demo trapmid demo
step model python foreign_model.py
step doctor trapmid doctor model.pt2 --private photos --public faces
step audit trapmid audit model.pt2 --private photos --public faces --out runs/mine
step report trapmid report runs/mine --redact --to shown.html
grep -q '<html' runs/demo/report.html && grep -q 'PLG-MI' shown.html
step uninstall pip uninstall --yes trapmid
find environment -path '*trapmid*' -type f | grep -v '\.pyc$' && { echo 'files of trapmid are left'; exit 1; }
[ ! -e environment/bin/trapmid ] || { echo 'the command is left'; exit 1; }
echo 'nothing is left of it'
STEPS
# The mounts end with the command. The newcomer's shell has no variable of this one.
unshare --mount bash -c 'mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev/shm" &&
  exec chroot "$0" su - newcomer -c "bash steps.sh"' "$root"

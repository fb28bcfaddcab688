#!/bin/sh
# Install the Debian packages of tests/packages.txt that are missing, as root or by sudo without a password.
# Where that cannot be done the tests that need them are skipped, and the run's last lines say so.
set -eu
cd "$(dirname "$0")"
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || exit 0
missing=
for package in $(sed 's/#.*//' packages.txt); do
  case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
    *" installed") ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then
  as_root=
elif sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  echo "not installed, and this user may not install them:$missing" >&2
  exit 0
fi
echo "installing for the tests:$missing" >&2
install() {
  # shellcheck disable=SC2086 - two lists of words
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
# The list of packages may be absent or old.
install 2>/dev/null || { $as_root apt-get update -qq >/dev/null && install; } ||
  echo "could not be installed, tests that need them are skipped:$missing" >&2

#!/bin/sh
# Install the Debian packages that some tests need, where that is possible; name them where it is not.
packages="nginx-light redis-server python-skimage-doc logrotate systemd"
missing=
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq $missing >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "Some tests are skipped without these Debian packages:$missing"
